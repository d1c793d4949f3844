"""The evidence that people read before they answer: complete, and never taken for markup."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.candidate import CandidateRecord
from include.core.evidence import Link, ReleaseEvidence, release_question, retraining_question
from include.core.health.record import Incident
from include.core.plain_text import quoted
from include.core.release.checks import RolloutCheck
from include.core.verdict import Verdict
from tests.support.specs import model_spec

SPEC = model_spec(deployment={"approval": {"required": True, "hours": 2}})
LINKS = [Link("Model", "https://airflow.example/evergreen/ui/models/late")]
HOSTILE = "`[click](https://evil.example) <img src=x onerror=alert(1)> ![i](//evil.example/i.png) **now**\n\n# Approve"


def record(version: str, **changes: Any) -> CandidateRecord:
    made = CandidateRecord(
        version, Verdict("pass", "better than the champion by 0.02", {"roc_auc": 0.81, "champion": 0.79, "low": None}),
        "c" * 40, "b", "s", f"2013-0{version}", "run", "late-2013-05 is degraded", "late-2013-05",
        "roc_auc", 0.81, 0.80, 0.82,
    )  # fmt: skip
    return replace(made, **changes)


def evidence(**changes: Any) -> ReleaseEvidence:
    tested = RolloutCheck(
        "run", "test environment", "3", Verdict("pass", "golden predictions match", {"p95_ms": 12.34})
    )
    replayed = RolloutCheck("run", "replay", "3", Verdict("hold", "only 3 requests are logged"))
    made = ReleaseEvidence("3", "2", record("3"), record("2", value=0.79), "Ada", [tested, replayed])
    return replace(made, **changes)


def test_the_evidence_names_everything_that_the_gates_said() -> None:
    asked = release_question(SPEC, evidence(), LINKS)
    assert asked.subject == "Deploy version 3 of late?"
    assert asked.body.splitlines() == [
        "Version **3** of **late** has passed the test environment. In production now: version 2.",
        "",
        "- Why it was trained: `late-2013-05 is degraded`, incident `late-2013-05`",
        "- Promotion: **pass**, `better than the champion by 0.02` (roc_auc 0.81, champion 0.79)",
        "- On its holdout: roc_auc 0.81 (0.8 to 0.82)",
        "- Version 2, on its own holdout: roc_auc 0.79 (0.8 to 0.82)",
        "- Data: until window `2013-03`; version 2: until `2013-02`",
        "- Commit: `cccccccccccc` by `Ada`",
        "- Test environment: **pass**, `golden predictions match` (p95_ms 12.34)",
        "- Replay: **hold**, `only 3 requests are logged`",
        "",
        "[Model](https://airflow.example/evergreen/ui/models/late)",
        "",
        "*Approve* starts its canary, and *Reject* ends this run; production is unchanged until the canary. Without an "
        "answer within 2 h, the version is not deployed.",
    ]


def test_what_is_not_known_is_said() -> None:
    body = release_question(SPEC, evidence(candidate=None, before=None, champion=None, checks=[]), LINKS).body
    assert "In production now: nothing." in body
    assert "Nothing is recorded of its training" in body
    assert (
        "roc_auc was not measured"
        in release_question(
            SPEC, evidence(candidate=record("3", value=None, low=None, high=None), author=""), LINKS
        ).body
    )


def test_the_question_about_a_retraining_has_the_policys_figures() -> None:
    verdict = Verdict(
        "fail", "roc_auc of version 2 is beyond the drop", {"value": 0.6, "beyond": ["2013-04", "2013-05"]}
    )
    asked = retraining_question(SPEC, Incident("late-2013-05", "2013-05", verdict), "2", LINKS)
    assert asked.subject == "Retrain late for incident late-2013-05?"
    assert "- Figures: value 0.6, beyond `2013-04, 2013-05`" in asked.body
    assert "no training starts. Either way, the incident cools down for 1 windows." in asked.body


def outside_of_code(markdown: str) -> str:
    """What Markdown reads as markup: everything but code."""
    return re.sub(r"`[^`\n]*`", "", markdown)


@pytest.mark.parametrize("where", ["reason", "incident", "commit", "window", "author", "verdict", "check", "signal"])
def test_hostile_text_stays_text(where: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "author": {"author": HOSTILE},
        "verdict": {"candidate": record("3", verdict=Verdict("fail", HOSTILE))},
        "check": {"checks": [RolloutCheck("run", "replay", "3", Verdict("pass", HOSTILE))]},
        "signal": {"checks": [RolloutCheck("run", "replay", "3", Verdict("pass", "ok", {"why": HOSTILE}))]},
        **{name: {"candidate": record("3", **{name: HOSTILE})} for name in ("reason", "incident", "commit", "window")},
    }
    plain = outside_of_code(release_question(SPEC, evidence(**changes[where]), LINKS).body)
    assert "evil" not in plain
    assert "<img" not in plain
    assert plain.count("](") == 1, "only our own link"


@given(st.text("`[]()<>!*#|\\:/.\n\r\t\x00\u202eab ", max_size=400))
def test_quoted_text_is_one_piece_of_code_and_nothing_else(text: str) -> None:
    found = quoted(text)
    assert found == "–" or re.fullmatch(r"`[^`\n\r]+`", found)
    assert len(found) <= 302
