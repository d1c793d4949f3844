"""Coverage of confidence intervals: ``python -m benchmarks.coverage``, or as part of ``make bench``.

For each metric, 1,000 windows are drawn from a known population, with one seed each. A bootstrap interval should
contain the population's value, and an estimate's interval the actual value, as often as the confidence level says. The
goal is to be within 2 points of the level; figures that miss it are marked, never omitted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from include.core.metric_names import CLASSIFICATION_METRICS, REGRESSION_METRICS
from include.core.quality.estimation import build_estimator, estimate
from include.core.quality.evaluation import figures
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec
from tests.support.specs import columns, model_spec

REPEATS = 1000
WINDOW = 1000
HOLDOUT = 2000
POPULATION = 4_000_000
LEVEL = 0.95
GOAL = 0.02
BEND = 1.5
"""Factor by which the logits are scaled: the model is overconfident, as real ones are."""


def coverage(repeats: int = REPEATS) -> Iterator[tuple[str, str]]:
    """Name and result of each measurement, one metric at a time."""
    for task, metrics in (("binary_classification", CLASSIFICATION_METRICS), ("regression", REGRESSION_METRICS)):
        spec = _spec(task, metrics)
        yield from _of_measured(spec, repeats)
        yield from _of_estimates(spec, repeats)
    held = sum(_holds_zero(seed) for seed in range(repeats))
    yield "95 % interval of calibration_error contains the true value 0 of a calibrated model", _share(held, repeats)


def draw(task: str, rows: int, seed: int, *, shift: float = 0.0, bend: float = BEND) -> pd.DataFrame:
    """Rows with the feature ``x``, the ``prediction`` and the ``truth``; the error of a regression grows with x."""
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, rows)
    if task == "regression":
        error = 0.5 + (1 + (x > 0)) * random.standard_normal(rows)
        prediction = 3 * x
        return pd.DataFrame({"x": x, "prediction": prediction, "truth": prediction - error})
    logit = 1.5 * x - 0.5
    truth = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)
    return pd.DataFrame({"x": x, "prediction": 1 / (1 + np.exp(-bend * logit)), "truth": truth})


def _of_measured(spec: ModelSpec, repeats: int) -> Iterator[tuple[str, str]]:
    whole = draw(spec.task, POPULATION, 0)
    true = figures(whole.truth, whole.prediction, spec.metrics.names, resamples=0)
    held = dict.fromkeys(spec.metrics.names, 0)
    for seed in range(1, repeats + 1):
        window = draw(spec.task, WINDOW, seed)
        measured = figures(window.truth, window.prediction, spec.metrics.names, confidence=LEVEL, seed=seed)
        for name, figure in measured.items():
            held[name] += _holds(figure, true[name].value)
    for name, count in held.items():
        yield f"95 % interval of {name}, {WINDOW} rows, contains the true value", _share(count, repeats)


def _of_estimates(spec: ModelSpec, repeats: int) -> Iterator[tuple[str, str]]:
    inside = dict.fromkeys(spec.metrics.names, 0)
    for seed in range(1, repeats + 1):
        estimator = build_estimator(draw(spec.task, HOLDOUT, 10_000 + seed), spec)
        window = draw(spec.task, WINDOW, 20_000 + seed, shift=0.3)
        assert estimator, "the holdout has ground truth"
        estimated = estimate(estimator, window, spec, seed=seed)
        actual = figures(window.truth, window.prediction, spec.metrics.names, resamples=0)
        for name, figure in estimated.items():
            if figure.value is None:
                inside.pop(name, None)
            else:
                inside[name] += _holds(figure, actual[name].value)
    for name, count in inside.items():
        what = f"95 % interval of the estimate of {name}, shifted inputs, {HOLDOUT} holdout rows, contains actual"
        yield what, _share(count, repeats)


def _holds_zero(seed: int) -> bool:
    window = draw("binary_classification", WINDOW, seed, bend=1.0)
    measured = figures(window.truth, window.prediction, ["calibration_error"], confidence=LEVEL, seed=seed)
    return measured["calibration_error"].low == 0


def _holds(figure: QualityFigure, value: float | None) -> bool:
    """Whether the figure's interval contains a value; both are known for windows of this size."""
    assert figure.low is not None and figure.high is not None and value is not None
    return figure.low <= value <= figure.high


def _share(count: int, repeats: int) -> str:
    share = count / repeats
    return f"{share:.1%}" + (
        "" if abs(share - LEVEL) <= GOAL + 1e-9 else f" (misses the goal of {LEVEL:.0%} ± 2 points)"
    )


def _spec(task: str, metrics: tuple[str, ...]) -> ModelSpec:
    return model_spec(
        task=task,
        target="truth",
        features=columns(x="number"),
        metrics={"primary": metrics[0], "also": list(metrics[1:]), "confidence": LEVEL},
    )


if __name__ == "__main__":
    for what, figure in coverage(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS):
        print(json.dumps([what, figure]), flush=True)
