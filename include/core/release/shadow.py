"""Judges the replay of logged requests into a new release: no failures, and predictions like production's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from include.core.json_types import Signal
from include.core.spec import Deployment
from include.core.verdict import Verdict


@dataclass(frozen=True)
class Replay:
    """The result of sending logged requests to a new release."""

    requests: int
    failures: Sequence[str]
    """Why each request without predictions has none."""
    recorded: Sequence[float]
    """Production's predictions, a value for each row of all requests."""
    predicted: Sequence[float]
    """The new release's predictions of the answered requests."""


def judge_replay(limits: Deployment, replay: Replay) -> Verdict:
    """The verdict on a replay, by the limits of the canary.

    Production answered all of these requests, so each failure is the new release's own. With fewer requests and rows
    than a canary needs, the verdict is hold: the replay proves too little to replace traffic.
    """
    canary = limits.canary
    distance = sample_shift(replay.predicted, replay.recorded)
    signals: dict[str, Signal] = {
        "replayed_requests": replay.requests,
        "replayed_rows": len(replay.recorded),
        "failed_requests": len(replay.failures),
        "prediction_shift": distance,
    }
    if replay.requests and len(replay.failures) > canary.error_rate_at_most * replay.requests:
        reason = f"{len(replay.failures)} of {replay.requests} replayed requests failed, the first with: "
        return Verdict("fail", reason + replay.failures[0], signals)
    if distance is not None and distance > canary.prediction_shift_at_most:
        return Verdict("fail", f"predictions of replayed requests differ from production's by {distance:.2f}", signals)
    if replay.requests < canary.requests_at_least and len(replay.recorded) < canary.rows_at_least:
        needed = f"{canary.requests_at_least} requests, or {canary.rows_at_least} rows,"
        return Verdict("hold", f"fewer than {needed} are in production's prediction log", signals)
    return Verdict("pass", "replayed requests were answered, with predictions like production's", signals)


def sample_shift(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kolmogorov-Smirnov distance (0 to 1) of two samples; None if one is empty."""
    if not len(first) or not len(second):
        return None
    one, two = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    values = np.concatenate([one, two])
    shares = [np.searchsorted(sample, values, side="right") / len(sample) for sample in (one, two)]
    return float(np.abs(shares[0] - shares[1]).max())
