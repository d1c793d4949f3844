"""What becomes of a commit, and where a model version comes from."""

import json
from typing import Any

import pytest

from include.core.build import Build, Lineage, judge_build

PASS: Any = {"answer": "pass", "reason": "no findings"}
FAIL: Any = {"answer": "fail", "reason": "undefined name."}
COMMIT = "c" * 40


@pytest.mark.parametrize(
    "build_id, reports, status",
    [
        ("c-1", {"lint": PASS, "test": PASS}, "passed"),
        ("c-1", {"lint": PASS, "test": FAIL}, "failed"),
        ("", {"build_environment": PASS}, "failed"),
    ],
)
def test_a_build_passes_with_an_environment_and_every_check(build_id: str, reports: Any, status: str) -> None:
    assert judge_build("m", COMMIT, build_id, "e", reports, "run").status == status


def test_a_commit_without_an_environment_is_recorded_under_a_name_of_its_own() -> None:
    assert judge_build("m", COMMIT, "", "", {"build_environment": FAIL}, "run").build_id == "cccccccccccc-unbuilt"


def test_failures_are_sentences_of_the_checks_that_failed() -> None:
    build = Build("m", "b", COMMIT, "e", "failed", {"lint": FAIL, "test": PASS, "contract": FAIL})
    assert build.failures == "lint: undefined name. contract: undefined name."


def test_a_lineage_survives_the_trip_through_json() -> None:
    lineage = Lineage("m", "b", COMMIT, "s", "2013-02", ("2013-01", "2013-02"), "run", "by hand", "late@2013-02")
    assert Lineage.from_dict(json.loads(json.dumps(lineage.as_dict()))) == lineage


def test_a_lineage_of_an_older_or_newer_version_is_read_as_far_as_it_is_known() -> None:
    read = Lineage.from_dict({"build": "b", "trained_until": "2013-02-01T00:00:00", "planet": "Mars"})
    assert read == Lineage(build="b", trained_until="2013-02-01T00:00:00")
