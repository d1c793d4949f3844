"""How often a good canary is rolled back, and a bad one passes: by simulation, and on real flights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations

import numpy as np

from benchmarks.trust.table import REPEATS, Row
from include.adapters.spec_file import load_spec
from include.core.quality.metrics import Array
from include.core.release.canary import judge_canary
from include.core.release.server_figures import ServerFigures, quantile
from include.core.release.shadow import Replay, judge_replay, sample_shift
from include.core.spec import Canary, Deployment
from include.runtime.server_metrics import SECONDS
from include.settings import PROJECT
from include.stages.shadow import COMPARED_AT_LEAST as REPLAYED

POLICY = Canary()
COARSE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The buckets of servers before the finer ones."""
BATCH = 50
"""Requests between two checks."""
BATCHES = 75
"""Checks within a step's time limit."""
Seconds = Callable[[int, bool, np.random.Generator], Array]
"""Durations of so many requests to the canary (True) or to production, in seconds."""


@dataclass
class Server:
    """What one server has counted, with the buckets of its latency."""

    edges: tuple[float, ...]
    requests: int = 0
    errors: int = 0
    seconds: Array = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        self.seconds = np.zeros(len(self.edges) + 1)

    def answer(self, errors: int, seconds: Array) -> None:
        """Count these requests."""
        self.requests += len(seconds)
        self.errors += errors
        places = np.searchsorted(self.edges, seconds, side="left")
        self.seconds += np.bincount(places, minlength=len(self.seconds))

    def figures(self) -> ServerFigures:
        """The counters as they are read from a server."""
        bounds = [*map(str, self.edges), "+Inf"]
        latency = dict(zip(bounds, np.cumsum(self.seconds).tolist(), strict=True))
        return ServerFigures(self.requests, self.errors, latency, {"0.5": self.requests / 2, "+Inf": self.requests})


def instant(count: int, _: bool, __: np.random.Generator) -> Array:
    """Requests that take no time."""
    return np.full(count, 0.001)


def lognormal(median: float, sigma: float, times: float, *, share: float = 1.0, busy: bool = False) -> Seconds:
    """Durations, of which a share takes the canary ``times`` as long; ``busy``: everything waits now and then."""

    def draw(count: int, canary: bool, random: np.random.Generator) -> Array:
        seconds = median * np.exp(sigma * random.standard_normal(count))
        if canary:
            seconds *= np.where(random.random(count) < share, times, 1.0)
        return seconds * np.where(random.random(count) < 0.05, 10.0, 1.0) if busy else seconds

    return draw


def rolled_out(
    rates: tuple[float, float], seconds: Seconds, seed: int, judge: Callable[..., str], edges: tuple[float, ...]
) -> bool:
    """Whether a canary passes all steps; ``rates``: shares of errors of canary and production."""
    random = np.random.default_rng(seed)
    for weight in POLICY.steps:
        canary, production = Server(edges), Server(edges)
        for batch in range(BATCHES):
            count = int(random.binomial(BATCH, weight / 100))
            failed = int(random.binomial(count, rates[0]))
            canary.answer(failed, seconds(count, True, random))
            others = BATCH - count + failed  # the gateway sends a failed request to production
            production.answer(int(random.binomial(others, rates[1])), seconds(others, False, random))
            answer = judge(canary.figures(), production.figures(), weight, batch)
            if answer == "fail":
                return False
            if answer == "pass":
                break
        else:
            return False
    return True


def by_share(canary: ServerFigures, production: ServerFigures, *_: int) -> str:
    """The plain rule: the share of errors against the limit, and p95 against three times production's."""
    enough = min(canary.requests, production.requests) >= POLICY.requests_at_least
    if canary.errors > POLICY.error_rate_at_most * max(canary.requests, POLICY.requests_at_least):
        return "fail"
    if not enough:
        return "hold"
    own, theirs = quantile(canary.latency, 0.95) or 0.0, quantile(production.latency, 0.95) or 0.0
    return "fail" if own > max(3 * theirs, 0.05) else "pass"


def by_test(canary: ServerFigures, production: ServerFigures, weight: int, batch: int) -> str:
    """The verdict of the canary's gate."""
    late = POLICY.step_timeout_minutes * 60 if batch == BATCHES - 1 else 0
    return judge_canary(POLICY, canary, production, seconds=late + 1, weight=weight).answer


def traffic(what: str, nominal: str, rates: tuple[float, float], seconds: Seconds, *, passes: bool) -> Row:
    """How often a canary passes (or is rolled back) by either rule."""
    shares = []
    for rule, edges in ((by_share, COARSE), (by_test, SECONDS)):
        found = sum(rolled_out(rates, seconds, seed, rule, edges) == passes for seed in range(REPEATS))
        shares.append(f"{found / REPEATS:.3f}")
    return Row(f"{what}, {'passes' if passes else 'is rolled back'}", nominal, *shares)


@cache
def flights() -> list[tuple[int, Array, Array]]:
    """Months between two trainings, and both models' predictions of the month after the second one."""
    from demo.flights_data import read_year
    from include.models.flights.model import estimator

    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    year = read_year()
    months = sorted(year["window"].unique())
    fitted = {}
    for last in (3, 4, 6, 7, 9, 10):
        known = year[year["window"].isin(months[max(0, last - 6) : last])].sample(20_000, random_state=0)
        fitted[last] = estimator().fit(known[spec.feature_names], known[spec.target])
    pairs = []
    for old, new in combinations(fitted, 2):
        rows = year[year["window"] == months[new]].sample(4000, random_state=1)
        one, other = (fitted[each].predict_proba(rows[spec.feature_names])[:, 1] for each in (old, new))
        pairs.append((new - old, one, other))
    return pairs


def predictions() -> Iterator[Row]:
    """Models of flights trained again, and what is wrong with predictions."""
    pairs = flights()
    wrong: dict[str, Callable[[Array, np.random.Generator], Array]] = {
        "a constant, production's mean": lambda ours, _: np.full(len(ours), ours.mean()),
        "another row's prediction": lambda ours, random: random.permutation(ours),
        "half of each prediction": lambda ours, _: ours / 2,
        "predictions shifted by one standard deviation": lambda ours, _: ours + ours.std(),
    }
    for what, change in wrong.items():
        yield _replayed(f"flights: {what}, passes", "0.000", pairs, change)
    for gap in (1, 3, 6):
        same = [pair for pair in pairs if pair[0] == gap]
        yield _replayed(f"flights: trained again {gap} months later, is rolled back", "0.02", same, None)


def _replayed(
    what: str,
    nominal: str,
    pairs: Sequence[tuple[int, Array, Array]],
    change: Callable[[Array, np.random.Generator], Array] | None,
) -> Row:
    """By two samples of requests (the plain rule), and by the same rows predicted by both."""
    limits, found, plain, cases = Deployment(), 0, 0, 0
    for _, ours, retrained in pairs:
        for seed in range(max(1, REPEATS // len(pairs))):
            random = np.random.default_rng(seed)
            rows = random.choice(len(ours), REPLAYED, replace=False)
            others = random.choice(len(ours), REPLAYED, replace=False)
            theirs = retrained if change is None else change(ours, random)
            distance = sample_shift(ours[others].tolist(), theirs[rows].tolist()) or 0.0
            verdict = judge_replay(limits, Replay(REPLAYED, [], ours[rows].tolist(), theirs[rows].tolist()))
            cases += 1
            plain += (distance > limits.canary.prediction_shift_at_most) == (change is None)
            found += verdict.passed == (change is not None)
    return Row(what, nominal, f"{plain / cases:.3f}", f"{found / cases:.3f}")


def rows() -> Iterator[Row]:
    """The lines about canaries."""
    yield traffic("0.5 % errors (limit 1 %)", "0.02", (0.005, 0.0), instant, passes=False)
    yield traffic("3 % errors", "0.05", (0.03, 0.0), instant, passes=True)
    yield traffic("5 % errors, as production has", "0.02", (0.05, 0.05), instant, passes=False)
    yield traffic("10 % errors beside production's 5 %", "0.05", (0.1, 0.05), instant, passes=True)
    for sigma in (0.5, 1.0):
        equal, slow = lognormal(0.06, sigma, 1.0, busy=True), lognormal(0.06, sigma, 3.0)
        yield traffic(
            f"60 ms (spread {sigma:g}), equally slow on a busy machine", "0.02", (0.0, 0.0), equal, passes=False
        )
        yield traffic(f"60 ms (spread {sigma:g}), three times as slow", "0.05", (0.0, 0.0), slow, passes=True)
    large = lognormal(0.06, 0.5, 10.0, share=0.1)
    yield traffic("60 ms, a tenth of the requests ten times as slow", "0.05", (0.0, 0.0), large, passes=True)
    yield from predictions()
