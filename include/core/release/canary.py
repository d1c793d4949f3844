"""Judges a canary: compares errors, latency and predictions of the new release with those of the one in production.

Both serve a random share of the same traffic at the same time, so that only the release can explain a difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from include.core.json_types import JsonObject, Signal
from include.core.spec import Canary
from include.core.verdict import Verdict

LATENCY_NOISE_SECONDS = 0.05
"""A p95 below this is never too slow: at such speeds, the ratio only shows how busy the machine is."""

SIGMAS = 3.0
"""How many standard deviations a count of requests must lie from what production's predicts to be no chance."""
REFUSALS_TO_JUDGE = 5
"""Fewer refused requests than this, beyond production's share, are never judged."""


@dataclass(frozen=True)
class ServerFigures:
    """Counters of one model server, as read from its metrics (or their growth since a baseline)."""

    requests: int = 0
    errors: int = 0
    """Requests answered with 5xx."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Upper bound in seconds (text, '+Inf' the last) → cumulative count."""
    predictions: Mapping[str, float] = field(default_factory=dict)
    """Upper bound of the prediction → cumulative count."""
    started: float = 0.0
    """Start of the process, epoch seconds."""
    refused: int = 0
    """Requests answered with 4xx."""
    rows: int = 0
    """Predicted rows."""

    @property
    def answered(self) -> int:
        """Requests that were answered with predictions, or with an error of the server."""
        return self.requests - self.refused

    def as_dict(self) -> JsonObject:
        """The counters, as JSON values."""
        return asdict(self) | {"latency": dict(self.latency), "predictions": dict(self.predictions)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> ServerFigures:
        """The counters from the output of :meth:`as_dict`."""
        return cls(**values)

    def since(self, baseline: ServerFigures | None) -> ServerFigures:
        """The growth since ``baseline``; the counters themselves if the process restarted (they start at 0)."""
        if baseline is None or baseline.started != self.started:
            return self
        return ServerFigures(
            self.requests - baseline.requests,
            self.errors - baseline.errors,
            {bound: count - baseline.latency.get(bound, 0) for bound, count in self.latency.items()},
            {bound: count - baseline.predictions.get(bound, 0) for bound, count in self.predictions.items()},
            self.started,
            self.refused - baseline.refused,
            self.rows - baseline.rows,
        )


def quantile(histogram: Mapping[str, float], share: float) -> float | None:
    """The quantile ``share`` of a cumulative histogram (linear within a bucket, as in PromQL)."""
    points = sorted((_bound(text), count) for text, count in histogram.items())
    if not points or points[-1][1] <= 0:
        return None
    target, below, lower = share * points[-1][1], 0.0, 0.0
    for bound, count in points:
        if count >= target:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (target - below) / max(count - below, 1e-12)
        below, lower = count, bound
    return lower


def shift(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Kolmogorov-Smirnov distance (0 to 1) of two cumulative histograms, whose bounds may differ."""
    curves = [_distribution(first), _distribution(second)]
    if not all(curves):
        return None
    bounds = sorted({bound for curve in curves for bound, _ in curve})
    return max(abs(_share_below(curves[0], bound) - _share_below(curves[1], bound)) for bound in bounds)


def judge_canary(
    policy: Canary,
    candidate: ServerFigures,
    champion: ServerFigures | None,
    *,
    seconds: float,
    weight: int,
    restarted: bool = False,
    shadowed: bool = False,
) -> Verdict:
    """The verdict on one step, from the growth of both servers' counters since the step started.

    ``champion`` is None if all traffic goes to the candidate. With too few requests and too few rows, the step is held
    until its time limit (``seconds``: time since it started), then it fails. So does a step in which production
    answered much of the traffic that was meant for the candidate (``weight``: the candidate's share in percent): the
    gateway asks production when the candidate does not respond, and the candidate does not count what never reached
    it. A restarted candidate fails, and so does one that refuses more of its requests (4xx) than production does:
    clients send both the same. ``shadowed``: the replay of logged requests has passed and may replace traffic that
    does not come.
    """
    p95, champion_p95, distance = quantile(candidate.latency, 0.95), None, None
    signals: dict[str, Signal] = {
        "requests": candidate.requests,
        "rows": candidate.rows,
        "errors": candidate.errors,
        "refused": candidate.refused,
        "p95_seconds": p95,
        "waited_seconds": round(seconds, 1),
    }
    if champion is not None:
        champion_p95 = quantile(champion.latency, 0.95)
        distance = shift(candidate.predictions, champion.predictions)
        signals["champion_requests"] = champion.requests
        signals["champion_refused"] = champion.refused
        signals["champion_p95_seconds"] = champion_p95
        signals["prediction_shift"] = distance
        signals["expected_requests"] = round(_expected(weight, candidate, champion), 1)
    if restarted:
        return Verdict("fail", "the canary's server restarted during the step", signals)
    problem = _fails_at_once(policy, candidate, champion)
    if problem:
        return Verdict("fail", problem, signals)
    late = seconds > policy.step_timeout_minutes * 60
    if not _both_enough(policy, candidate, champion):
        needed = f"{policy.requests_at_least} answered requests, or {policy.rows_at_least} rows,"
        few = f"fewer than {needed} within the step's time limit"
        if late and shadowed:
            return Verdict("pass", f"{few}; the replay of logged requests passed instead", signals)
        return (
            Verdict("fail", few, signals)
            if late
            else Verdict("hold", f"waiting for {needed} from each release", signals)
        )
    if champion is None:
        return Verdict("pass", "errors are within their limit", signals)
    missed = _misses_its_share(weight, candidate, champion)
    if missed:
        return Verdict("fail" if late else "hold", missed, signals)
    problem = _too_slow(policy, p95, champion_p95) or _too_different(policy, distance)
    if problem:
        return Verdict("fail", problem, signals)
    return Verdict("pass", "errors, latency and predictions are within their limits", signals)


def _fails_at_once(policy: Canary, candidate: ServerFigures, champion: ServerFigures | None) -> str | None:
    """What more traffic would not mend: too many errors, or more refused requests than production has."""
    enough = _both_enough(policy, candidate, champion)
    judged = candidate.requests if enough else max(candidate.requests, policy.requests_at_least)
    if candidate.errors > policy.error_rate_at_most * judged:
        return f"{candidate.errors} of {candidate.requests} requests were answered with 5xx"
    return _refuses_more(policy, candidate, champion)


def _both_enough(policy: Canary, candidate: ServerFigures, champion: ServerFigures | None) -> bool:
    return _enough(policy, candidate) and (champion is None or _enough(policy, champion))


def _enough(policy: Canary, figures: ServerFigures) -> bool:
    return figures.answered >= policy.requests_at_least or figures.rows >= policy.rows_at_least


def _expected(weight: int, candidate: ServerFigures, champion: ServerFigures) -> float:
    """How many of the requests that either server counted should have reached the candidate."""
    return weight / 100 * (candidate.requests + champion.requests)


def _misses_its_share(weight: int, candidate: ServerFigures, champion: ServerFigures) -> str | None:
    """Whether the candidate had less than half of its share of the requests, and that is no chance."""
    expected = _expected(weight, candidate, champion)
    if candidate.requests >= min(expected / 2, expected - SIGMAS * math.sqrt(expected)):
        return None
    return (
        f"{candidate.requests} requests reached the canary, of about {expected:.0f} that its share of {weight} % "
        "should bring; production answered the others"
    )


def _refuses_more(policy: Canary, candidate: ServerFigures, champion: ServerFigures | None) -> str | None:
    """Whether the candidate refuses a larger share of requests than production, beyond the limit and beyond chance.

    Without a champion there is nothing to compare with: clients may send what no release would take.
    """
    if champion is None or not candidate.requests or not champion.requests:
        return None
    share, theirs = candidate.refused / candidate.requests, champion.refused / champion.requests
    pooled = (candidate.refused + champion.refused) / (candidate.requests + champion.requests)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / candidate.requests + 1 / champion.requests))
    few = candidate.refused - theirs * candidate.requests < REFUSALS_TO_JUDGE
    if few or share - theirs <= max(policy.error_rate_at_most, SIGMAS * spread):
        return None
    return (
        f"{candidate.refused} of {candidate.requests} requests were refused (4xx), against {champion.refused} of "
        f"{champion.requests} in production"
    )


def _too_slow(policy: Canary, candidate: float | None, champion: float | None) -> str | None:
    if candidate is None or champion is None:
        return "latency was not measured"
    limit = max(policy.latency_ratio_at_most * champion, LATENCY_NOISE_SECONDS)
    if candidate > limit:
        return f"p95 latency is {candidate * 1000:.0f} ms, above the limit of {limit * 1000:.0f} ms"
    return None


def _too_different(policy: Canary, distance: float | None) -> str | None:
    if distance is None:
        return "no predictions were measured"
    if distance > policy.prediction_shift_at_most:
        return f"predictions differ from production's by {distance:.2f}"
    return None


def _bound(text: str) -> float:
    return math.inf if text == "+Inf" else float(text)


def _distribution(histogram: Mapping[str, float]) -> list[tuple[float, float]]:
    points = sorted((_bound(text), count) for text, count in histogram.items())
    total = points[-1][1] if points else 0
    if total <= 0:
        return []
    return [(bound, count / total) for bound, count in points if not math.isinf(bound)] or [(0.0, 0.0)]


def _share_below(curve: list[tuple[float, float]], value: float) -> float:
    lower, below = curve[0]
    if value <= lower:
        return below if value == lower else 0.0
    for bound, share in curve[1:]:
        if value <= bound:
            return below + (share - below) * (value - lower) / (bound - lower)
        lower, below = bound, share
    return 1.0
