"""The outcome of a demo, as its report reads it."""

from __future__ import annotations

from typing import Any

from demo import report


def verdict(answer: str, reason: str = "because", **signals: Any) -> Any:
    return {"answer": answer, "reason": reason, "signals": signals}


def release(kind: str, month: str, version: str, replaced: str | None, began: float, promoted: bool = True) -> Any:
    return {
        "kind": kind, "month": month, "version": version, "replaced": replaced, "promoted": promoted, "began": began,
        "why": f"incident flights-{month}", "seconds": 12.5,
        "verdict": verdict("pass" if promoted else "fail", better_by=0.01),
    }  # fmt: skip


SCORES = {
    "1": {"2013-03": 0.70, "2013-04": 0.63, "2013-05": 0.70, "2013-06": 0.68},
    "2": {"2013-03": 0.90, "2013-04": 0.90, "2013-05": 0.74, "2013-06": 0.72},
}
RELEASES = [release("first", "2013-02", "1", None, 1), release("incident", "2013-04", "2", "1", 2)]


def demo_result() -> Any:
    """What a demo of four months found, with one retraining; some of its texts have markup in them."""
    months = [
        {
            "month": month, "live_version": "1" if month < "2013-05" else "2", "value": 0.7, "low": 0.67, "high": 0.73,
            "drifted": ["temperature", "<b>odd</b>"], "verdict": verdict("fail" if month == "2013-04" else "pass"),
            "seconds": 9.9, "with_retraining": 0.71, "without_retraining": SCORES["1"][month],
        }
        for month in SCORES["1"]
    ]  # fmt: skip
    months[0] |= {"value": None, "low": None, "high": None, "with_retraining": None}
    return {
        "model": "flights",
        "metric": "roc_auc",
        "months": months,
        "releases": RELEASES,
        "retrainings": [report.judge(RELEASES[1], RELEASES, SCORES)],
        "scores": SCORES,
        "stages": [
            {
                "dag_id": "flights.ci",
                "run_id": "a<b>",
                "state": "success",
                "started": "2026-01-01T10:00:00Z",
                "seconds": 4.2,
            }
        ],
        "traffic": {"requests": 10, "rows": 100, "failed": 0, "failures": []},
        "seconds": {"first release": 30.0, "second commit": 20.0, "loop": 60.0, "months": {}, "steps": {}},
        "success": True,
    }
