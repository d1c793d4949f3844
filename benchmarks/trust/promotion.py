"""How often promotion says what it should, by simulation and on pairs of equally trained models of real flights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.trust.table import REPEATS, Row
from include.adapters.spec_file import load_spec
from include.core.quality.evaluation import compare, evaluate
from include.core.quality.figures import Comparison, Difference, Evaluation, QualityFigure
from include.core.quality.metrics import Array
from include.core.quality.promotion import judge_promotion
from include.core.spec import ModelSpec
from include.settings import PROJECT
from tests.support.specs import model_spec

TIME = "at"


def spec_for(task: str, metric: str, dependence: str) -> ModelSpec:
    """A spec of simulated rows."""
    return model_spec(task=task, target="y", metrics={"primary": metric}, data={"dependence": dependence})


def classified(days: int, rows: int, weather: float, own: float, random: np.random.Generator) -> pd.DataFrame:
    """Two equally good classifiers: the truth depends on the day's weather, and each errs in its own way each day."""
    day = np.repeat(np.arange(days), rows)
    signal = random.standard_normal(days * rows)
    truth = random.random(len(day)) < 1 / (1 + np.exp(1 - signal - weather * random.standard_normal(days)[day]))

    def score() -> Array:
        noise = own * random.standard_normal(days)[day] * signal + 0.5 * random.standard_normal(len(day))
        scores: Array = 1 / (1 + np.exp(1 - signal - noise))
        return scores

    at = pd.Timestamp("2013-05-01") + pd.to_timedelta(day, unit="D")
    return pd.DataFrame({"y": truth.astype(float), "prediction": score(), "champion": score(), TIME: at})


def measured(days: int, per_day: int, memory: float, random: np.random.Generator) -> pd.DataFrame:
    """Two equally good regressions whose errors are autoregressive, as of measurements every ten minutes."""
    count = days * per_day

    def errors() -> Array:
        steps = random.standard_normal(count) * np.sqrt(1 - memory**2)
        values = np.empty(count)
        values[0] = random.standard_normal()
        for place in range(1, count):
            values[place] = memory * values[place - 1] + steps[place]
        return values

    at = pd.Timestamp("2013-05-01") + pd.to_timedelta(np.arange(count) * (24 * 60 // per_day), unit="min")
    return pd.DataFrame({"y": 0.0, "prediction": errors(), "champion": errors(), TIME: at})


def seems_better(frame: pd.DataFrame, spec: ModelSpec, seed: int) -> bool:
    """Whether the candidate is shown to be better."""
    low = compare(frame, spec, time=TIME, seed=seed).overall.low
    return low is not None and low > spec.promotion.improvement


def equal_models(what: str, task: str, metric: str, draw: Callable[[np.random.Generator], pd.DataFrame]) -> Row:
    """How often one of two equal models seems better."""
    found = {"none": 0, "day": 0}
    for seed in range(REPEATS):
        frame = draw(np.random.default_rng(seed))
        for dependence in found:
            found[dependence] += seems_better(frame, spec_for(task, metric, dependence), seed)
    shares = {name: f"{count / REPEATS:.3f}" for name, count in found.items()}
    return Row(f"equal models, one seems better: {what}", "0.025", shares["none"], shares["day"])


def promotion() -> Iterator[Row]:
    """Equal models whose rows depend on each other in different ways, and what the price is."""
    for weather, own in ((0.0, 0.0), (0.4, 0.2), (0.4, 0.4), (0.6, 0.6)):
        what = f"AUC, 7 days of 286 rows, day effects {weather:g} and {own:g}"
        yield equal_models(what, "binary_classification", "roc_auc", partial(classified, 7, 286, weather, own))
    for memory in (0.9, 0.98):
        what = f"MAE, 7 days of 144 rows, autocorrelation {memory:g}"
        yield equal_models(what, "regression", "mae", partial(measured, 7, 144, memory))
    for days in (7, 14, 28):
        found = {"none": 0, "day": 0}
        for seed in range(REPEATS):
            random = np.random.default_rng(seed)
            frame = classified(days, 286, 0.4, 0.2, random)
            frame["champion"] += 0.12 * random.standard_normal(len(frame))
            for dependence in found:
                spec = spec_for("binary_classification", "roc_auc", dependence)
                found[dependence] += seems_better(frame, spec, seed)
        shares = [f"{found[name] / REPEATS:.2f}" for name in ("none", "day")]
        yield Row(f"power: a candidate better by about 0.02 AUC, {days} days", "–", *shares)


def ties() -> Row:
    """Two equal models that differ in two rows of 500 on average, by accuracy."""
    found = 0
    for seed in range(REPEATS):
        random = np.random.default_rng(seed)
        truth = (random.random(500) < 0.3).astype(float)
        differ = random.random(500) < 2 / 500
        right = random.random(500) < 0.5
        base = np.where(random.random(500) < 0.8, truth, 1 - truth)
        one, other = base.copy(), base.copy()
        one[differ], other[differ] = (
            np.where(right, truth, 1 - truth)[differ],
            np.where(right, 1 - truth, truth)[differ],
        )
        frame = pd.DataFrame({"y": truth, "prediction": one, "champion": other, TIME: pd.Timestamp("2013-05-01")})
        found += seems_better(frame, spec_for("binary_classification", "accuracy", "none"), seed)
    return Row("almost the same model (2 of 500 rows differ), by accuracy", "0.025", f"{found / REPEATS:.3f}", "–")


def slices(count: int) -> Row:
    """A candidate that is better by 0.01 in each slice of 200 rows."""
    spec, refused, by_point = spec_for("binary_classification", "roc_auc", "none"), 0, 0
    for seed in range(REPEATS):
        better = 0.01 + 0.03 * np.random.default_rng(seed).standard_normal(count)
        by_slice = {f"s{n}": Difference(x, x - 0.059, x + 0.059, n=200) for n, x in enumerate(better)}
        compared = Comparison("roc_auc", Difference(0.01, 0.005, 0.015, n=200 * count), by_slice)
        figure = Evaluation({"roc_auc": QualityFigure(0.8, n=5000, fewest=900)})
        refused += not judge_promotion(spec, figure, figure, compared).passed
        by_point += bool((better < -spec.promotion.slice_drop_at_most).any())
    before = f"{by_point / REPEATS:.2f} (by point estimates)"
    return Row(
        f"better in each of {count} slices of 200 rows, refused because of one",
        "0.025",
        before,
        f"{refused / REPEATS:.3f}",
    )


def few_positives() -> Row:
    """Whether the 95 % interval of recall holds the true value, with few positives."""
    inside = judged = 0
    spec = spec_for("binary_classification", "recall", "none")
    for seed in range(REPEATS):
        random = np.random.default_rng(seed)
        truth = (random.random(500) < 0.03).astype(float)
        said = np.where(random.random(500) < np.where(truth > 0, 0.6, 0.02), 0.9, 0.1)
        frame = pd.DataFrame({"y": truth, "prediction": said, TIME: pd.Timestamp("2013-05-01")})
        figure = evaluate(frame, spec, time=TIME, seed=seed).quality["recall"]
        if figure.low is not None and figure.high is not None:
            judged += 1
            inside += figure.low <= 0.6 <= figure.high
    return Row(
        f"recall of about 15 positives: the interval holds it ({judged} measured)",
        "0.95",
        f"{inside / max(judged, 1):.3f}",
        "–",
    )


def flights() -> Iterator[Row]:
    """Pairs of equally trained models on real flights: whether a week's interval holds the difference of all weeks."""
    from demo.flights_data import read_year
    from include.models.flights.model import estimator

    own = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    specs = {
        name: own.model_copy(update={"data": own.data.model_copy(update={"dependence": name})})
        for name in ("none", "day")
    }
    year, moment = read_year(), own.data.event_time
    early, late = year[year["window"] <= "2013-02"], year[year["window"] >= "2013-03"]
    scores = []
    for seed in range(4):
        rows = early.sample(frac=0.7, random_state=seed)
        fitted = estimator(seed=seed).fit(rows[own.feature_names], rows[own.target])
        scores.append(fitted.predict_proba(late[own.feature_names])[:, 1])
    week = (late[moment] - late[moment].min()).dt.days // 7
    for days, every in ((7, 1), (28, 4)):
        held, better, cases = dict.fromkeys(specs, 0), dict.fromkeys(specs, 0), 0
        for one, other in ((0, 1), (2, 3), (0, 2)):
            frame = late[[moment, own.target, *own.metrics.slices]].assign(
                prediction=scores[one], champion=scores[other]
            )
            whole = compare(frame, specs["none"], time=moment, resamples=2).overall.value or 0.0
            for _, part in frame.groupby(week // every):
                cases += 1
                for name, spec in specs.items():
                    found = compare(part, spec, time=moment).overall
                    low, high = found.low, found.high
                    held[name] += low is not None and high is not None and low <= whole <= high
                    better[name] += low is not None and low > max(whole, 0.0)
        yield Row(
            f"flights: the interval of {days} days holds the difference of all weeks ({cases} cases)",
            "0.95",
            *(f"{held[name] / cases:.2f}" for name in specs),
        )
        yield Row(
            f"flights: a model seems better than it is, by {days} days",
            "0.025",
            *(f"{better[name] / cases:.3f}" for name in specs),
        )


def rows() -> Iterator[Row]:
    """The lines about promotion."""
    yield from promotion()
    yield ties()
    for count in (1, 3, 10, 30):
        yield slices(count)
    yield few_positives()
    yield from flights()
