"""What becomes of a commit, and where a model version comes from."""

import json
from typing import Any

import pytest

from include.core.build import MAX_NAME, MAX_NAMES, Build, Lineage, judge_build, read_parameters

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


def test_parameters_of_an_estimator_function_are_those_that_the_contract_check_reported() -> None:
    parameters = {"names": ["depth", "rate"], "any": False}
    build = judge_build(
        "m", COMMIT, "b", "e", {"lint": PASS, "check_contract": PASS | {"parameters": parameters}}, "run"
    )
    assert Build(**json.loads(json.dumps(build.as_dict()))).parameters == parameters
    assert judge_build("m", COMMIT, "b", "e", {"lint": PASS, "check_contract": PASS}, "run").parameters is None


@pytest.mark.parametrize(
    "reported",
    [
        None,
        [],
        {"names": ["depth"]},
        {"names": ["depth"], "any": "yes"},
        {"names": "depth", "any": False},
        {"names": [3], "any": False},
        {"names": ["<script>"], "any": False},
        {"names": ["line\nbreak"], "any": False},
        {"names": ["x" * (MAX_NAME + 1)], "any": False},
        {"names": ["x"] * (MAX_NAMES + 1), "any": False},
    ],
)
def test_parameters_that_a_commit_made_up_are_not_recorded(reported: Any) -> None:
    """The report is written by the commit's own process; its names are shown to people."""
    assert read_parameters(reported) is None


def test_of_parameters_only_names_and_any_are_recorded() -> None:
    assert read_parameters({"names": ["a"], "any": True, "more": "x" * 10**6}) == {"names": ["a"], "any": True}
