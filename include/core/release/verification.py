"""The verdict on a version in the test environment: same predictions, fast enough, no failures under load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from include.core.json_types import Signal
from include.core.spec import Deployment
from include.core.verdict import Verdict


@dataclass(frozen=True)
class LoadTest:
    """The result of a load test."""

    seconds: Sequence[float]
    """Duration of each answered request, shortest first."""
    failures: Sequence[str]
    """Why each of the other requests failed."""

    @property
    def p95_ms(self) -> float | None:
        """Milliseconds within which 95% of the requests were answered; None if none was."""
        return self.seconds[int(0.95 * (len(self.seconds) - 1))] * 1000 if self.seconds else None


def judge_verification(
    limits: Deployment, predicted: Sequence[float], recorded: Sequence[float], alone: LoadTest, loaded: LoadTest
) -> Verdict:
    """The verdict on golden examples, ``predicted`` now and ``recorded`` by training, and on both load tests.

    ``alone``: sequential requests, whose p95 must meet the latency budget if there is one; ``loaded``: requests of
    concurrent clients. No request may fail in either. Without examples or answered requests nothing is proven, so the
    verdict is fail.
    """
    if len(predicted) != len(recorded):
        raise ValueError(f"{len(predicted)} predictions for {len(recorded)} golden examples")
    largest = max((_difference(now, then) for now, then in zip(predicted, recorded, strict=True)), default=None)
    failures, p95 = [*alone.failures, *loaded.failures], alone.p95_ms
    signals: dict[str, Signal] = {
        "golden": len(recorded),
        "largest_difference": largest,
        "p95_ms": p95,
        "load_p95_ms": loaded.p95_ms,
        "failed_requests": len(failures),
    }
    if largest is None:
        return Verdict("fail", "there are no golden examples to compare predictions with", signals)
    if not largest <= limits.golden_tolerance:
        return Verdict("fail", "predictions differ from those that training recorded", signals)
    if failures:
        return Verdict("fail", f"{len(failures)} requests failed, the first with: {failures[0]}", signals)
    if p95 is None:
        return Verdict("fail", "latency was not measured: no request was sent", signals)
    if limits.latency_p95_ms is not None and p95 > limits.latency_p95_ms:
        return Verdict(
            "fail", f"p95 latency is {p95:.0f} ms, above the budget of {limits.latency_p95_ms:.0f} ms", signals
        )
    return Verdict("pass", "golden predictions match, and no request failed", signals)


def _difference(now: float, then: float) -> float:
    """The difference of two predictions: absolute below 1, relative above, where floats are coarser too."""
    difference = abs(now - then) / max(1.0, abs(then))
    # max() may miss NaN, because comparisons with it are false.
    return float("inf") if math.isnan(difference) else difference
