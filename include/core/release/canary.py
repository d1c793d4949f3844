"""Judges a canary: compares errors, latency and predictions of the new release with those of the one in production.

Both serve a random share of the same traffic at the same time, so that only the release can explain a difference. The
canary is looked at every few seconds, so that each comparison is a sequential test
(:mod:`include.core.release.sequential`): it fails a canary that is shown to be worse, passes one that is shown to be
good enough, and otherwise waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from include.core.json_types import Signal
from include.core.release.sequential import log_excess, log_likelihood_ratio
from include.core.release.server_figures import (
    ServerFigures,
    bound_of,
    common_bounds,
    count_above,
    quantile,
    shift,
)
from include.core.spec import Canary
from include.core.verdict import Answer, Verdict

FALSE_ALARMS = 0.01
"""How often each comparison may fail a good canary, over all steps together."""
MISSED = 0.05
"""How often a canary with far too many errors may pass all steps."""
GOOD_SHARE, BAD_SHARE = 0.5, 3.0
"""Errors are told apart between these multiples of ``canary.error_rate_at_most``, beyond production's own errors."""

LATENCY_NOISE_SECONDS = 0.05
"""A latency below this is never too slow: at such speeds, the ratio only shows how busy the machine is."""
LATENCY_SHARES = (0.95, 0.99)
"""The quantiles of latency that are compared."""
SLOWER_AT_LEAST = 5
"""A quantile beyond the first is compared when this many requests of each release lie above it."""
COMPARED_AT = (0.5, 0.75, 0.9, 0.95, 0.99)
"""The quantiles of both releases' requests beyond which the slower ones of each are counted."""

SIGMAS = 3.0
"""How many standard deviations a count of requests must lie from what production's predicts to be no chance."""


@dataclass(frozen=True)
class _Finding:
    """The answer of one comparison."""

    answer: Answer
    reason: str = ""


@dataclass(frozen=True)
class _Step:
    """What both releases counted since the step began."""

    policy: Canary
    candidate: ServerFigures
    champion: ServerFigures | None
    """None if all traffic goes to the candidate."""
    weight: int
    signals: dict[str, Signal] = field(default_factory=dict)

    @property
    def proof(self) -> float:
        """The log of the evidence from which a comparison fails the canary."""
        return math.log(len(self.policy.steps) / FALSE_ALARMS)

    @property
    def enough(self) -> bool:
        """Whether both releases had the traffic that a step needs."""
        return all(
            one.answered >= self.policy.requests_at_least or one.rows >= self.policy.rows_at_least
            for one in (self.candidate, self.champion)
            if one is not None
        )


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

    ``champion`` is None if all traffic goes to the candidate. With too few requests and too few rows, or as long as
    errors or latency can't be told apart from too high ones, the step is held until its time limit (``seconds``: time
    since it started), then it fails. So does a step in which production answered much of the traffic that was meant for
    the candidate (``weight``: the candidate's share in percent): the gateway asks production when the candidate does
    not respond, and the candidate does not count what never reached it. A restarted candidate fails, and so does one
    that refuses more of its requests (4xx) than production does: clients send both the same. ``shadowed``: the replay
    of logged requests has passed and may replace traffic that does not come.
    """
    step = _Step(policy, candidate, champion, weight)
    signals = _signals(step, seconds)
    if restarted:
        return Verdict("fail", "the canary's server restarted during the step", signals)
    late = seconds > policy.step_timeout_minutes * 60
    errors = _errors(step)
    worse = errors if errors.answer == "fail" else _refusals(step)
    if worse.answer == "fail":
        return Verdict("fail", worse.reason, signals)
    if not step.enough:
        return _too_little(step, signals, late=late, replaced=shadowed and errors.answer == "pass")
    undecided = [errors]
    if champion is not None:
        undecided += [_missed_share(step, champion), _latency(step, champion), _shift(step, champion)]
    for answer in ("fail", "hold"):
        reasons = [finding.reason for finding in undecided if finding.answer == answer]
        if reasons:
            limit = " within the step's time limit" if answer == "hold" and late else ""
            return Verdict("fail" if late else answer, reasons[0] + limit, signals)
    judged = "errors are" if champion is None else "errors, latency and predictions are"
    return Verdict("pass", f"{judged} within {'their limit' if champion is None else 'their limits'}", signals)


def _signals(step: _Step, seconds: float) -> dict[str, Signal]:
    candidate, champion = step.candidate, step.champion
    signals: dict[str, Signal] = {
        "requests": candidate.requests,
        "rows": candidate.rows,
        "errors": candidate.errors,
        "refused": candidate.refused,
        "p95_seconds": quantile(candidate.latency, 0.95),
        "waited_seconds": round(seconds, 1),
    }
    if champion is not None:
        signals["champion_requests"] = champion.requests
        signals["champion_errors"] = champion.errors
        signals["champion_refused"] = champion.refused
        signals["champion_p95_seconds"] = quantile(champion.latency, 0.95)
        signals["prediction_shift"] = shift(candidate.predictions, champion.predictions)
        signals["expected_requests"] = round(_expected(step.weight, candidate, champion), 1)
    return signals


def _too_little(step: _Step, signals: dict[str, Signal], *, late: bool, replaced: bool) -> Verdict:
    """The verdict on a step without enough traffic; ``replaced``: a replay has passed, and no error speaks against."""
    needed = f"{step.policy.requests_at_least} answered requests, or {step.policy.rows_at_least} rows,"
    few = f"fewer than {needed} within the step's time limit"
    if not late:
        return Verdict("hold", f"waiting for {needed} from each release", signals)
    if replaced:
        return Verdict("pass", f"{few}; the replay of logged requests passed instead", signals)
    return Verdict("fail", few, signals)


def _errors(step: _Step) -> _Finding:
    """Whether the candidate answers more requests with 5xx than allowed, beyond production's own share of errors.

    Wald's test between half of the limit and three times the limit (or as many errors again as production has, if that
    is more), each added to production's share. It fails a candidate only if it also has more errors than production
    beyond chance: both get the same requests. A candidate without any error passes once it has enough traffic.
    """
    candidate, champion = step.candidate, step.champion
    theirs = champion.errors / champion.answered if champion and champion.answered else 0.0
    if not candidate.errors:
        return _Finding("pass")
    ratio = _error_ratio(step.policy.error_rate_at_most, theirs, candidate)
    beside = "" if champion is None else f", and {champion.errors} of {champion.requests} in production"
    reason = f"{candidate.errors} of {candidate.requests} requests were answered with 5xx{beside}"
    more = math.inf
    if champion is not None and champion.answered:
        more = log_excess(candidate.errors, candidate.answered, champion.errors, champion.answered)
    if ratio >= step.proof and more >= step.proof:
        return _Finding("fail", reason)
    if ratio <= math.log(MISSED) / len(step.policy.steps):  # each step is another sample of its requests
        return _Finding("pass")
    limit = f"{100 * step.policy.error_rate_at_most:g} %"
    return _Finding("hold", f"{reason}: too few requests to say whether that is within the limit of {limit}")


def _error_ratio(limit: float, theirs: float, candidate: ServerFigures) -> float:
    """The log-likelihood ratio of too many errors against few enough; infinite if the limit allows none, or all."""
    if limit + theirs >= 1:
        return -math.inf
    if not limit:
        return math.inf if candidate.errors > theirs * candidate.answered else -math.inf
    larger = min(theirs + max(BAD_SHARE * limit, theirs), (1 + limit + theirs) / 2)
    return log_likelihood_ratio(candidate.errors, candidate.answered, GOOD_SHARE * limit + theirs, larger)


def _refusals(step: _Step) -> _Finding:
    """Whether the candidate refuses a larger share of requests than production, beyond the limit and beyond chance.

    Without a champion there is nothing to compare with: clients may send what no release would take.
    """
    candidate, champion = step.candidate, step.champion
    if champion is None or not candidate.requests or not champion.requests:
        return _Finding("pass")
    beyond = candidate.refused / candidate.requests - champion.refused / champion.requests
    more = log_excess(candidate.refused, candidate.requests, champion.refused, champion.requests)
    if beyond <= step.policy.error_rate_at_most or more < step.proof:
        return _Finding("pass")
    return _Finding(
        "fail",
        f"{candidate.refused} of {candidate.requests} requests were refused (4xx), against {champion.refused} of "
        f"{champion.requests} in production",
    )


def _expected(weight: int, candidate: ServerFigures, champion: ServerFigures) -> float:
    """How many of the requests that either server counted should have reached the candidate."""
    return weight / 100 * (candidate.requests + champion.requests)


def _missed_share(step: _Step, champion: ServerFigures) -> _Finding:
    """Whether the candidate had less than half of its share of the requests, beyond chance."""
    reached, expected = step.candidate.requests, _expected(step.weight, step.candidate, champion)
    if reached >= min(expected / 2, expected - SIGMAS * math.sqrt(expected)):
        return _Finding("pass")
    return _Finding(
        "hold",
        f"{reached} requests reached the canary, of about {expected:.0f} that its share of {step.weight} % "
        "should bring; production answered the others",
    )


def _latency(step: _Step, champion: ServerFigures) -> _Finding:
    """Whether a quantile of the candidate's latency is above its limit, and whether that is beyond chance."""
    own, theirs = common_bounds(step.candidate.latency, champion.latency)
    for share in LATENCY_SHARES:
        seconds, production = quantile(own, share), quantile(theirs, share)
        if seconds is None or production is None or len(own) < 2:  # one bound, +Inf, tells nothing
            return _Finding("fail", "latency was not measured")
        fewest = min(step.candidate.requests, champion.requests) * (1 - share)
        limit = max(step.policy.latency_ratio_at_most * production, LATENCY_NOISE_SECONDS)
        if seconds <= limit or (share > LATENCY_SHARES[0] and fewest < SLOWER_AT_LEAST):
            continue
        reason = f"p{100 * share:.0f} latency is {seconds * 1000:.0f} ms, above the limit of {limit * 1000:.0f} ms"
        if _log_slower(own, theirs) >= step.proof:
            return _Finding("fail", reason)
        return _Finding("hold", f"{reason}; too few requests to say whether that is chance")
    return _Finding("pass")


def _log_slower(own: dict[str, float], theirs: dict[str, float]) -> float:
    """Log of the evidence that the candidate has more slow requests, averaged over what *slow* may mean."""
    both = {bound: own[bound] + theirs[bound] for bound in own}
    slow = [bound_of(both, share) for share in COMPARED_AT]
    totals = max(own.values()), max(theirs.values())
    logs = [log_excess(count_above(own, each), totals[0], count_above(theirs, each), totals[1]) for each in slow]
    highest = max(logs)
    return highest + math.log(sum(math.exp(each - highest) for each in logs) / len(logs))


def _shift(step: _Step, champion: ServerFigures) -> _Finding:
    """Whether the distributions of both releases' predictions differ too much."""
    distance = shift(step.candidate.predictions, champion.predictions)
    if distance is None:
        return _Finding("fail", "no predictions were measured")
    if distance > step.policy.prediction_shift_at_most:
        return _Finding("fail", f"predictions differ from production's by {distance:.2f}")
    return _Finding("pass")
