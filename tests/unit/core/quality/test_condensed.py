"""Cells stand for their rows: the same figures, and intervals of the same width, at a fraction of the time."""

from typing import Any

import numpy as np
import pytest

from include.core.metric_names import CLASSIFICATION_METRICS
from include.core.quality.condensed import CELLS, MAX_UNCONDENSED_ROWS, condense
from include.core.quality.estimation import calibration_map, expected
from include.core.quality.evaluation import figures
from include.core.quality.metrics import CALIBRATION_BINS, must, prepare

ROWS = 60_000
METRICS = list(CLASSIFICATION_METRICS)
THRESHOLD = 0.437


def window(rows: Any = ROWS, seed: Any = 0, **options: Any) -> Any:
    """Scores of a model that is too sure of itself, and what came true."""
    random = np.random.default_rng(seed)
    logit = 1.5 * random.standard_normal(rows) - 0.5
    truth = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)
    score = 1 / (1 + np.exp(-1.5 * logit))
    return truth, np.round(score, options["digits"]) if "digits" in options else score


@pytest.fixture
def row_by_row(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From then on each row is a cell of its own, however many they are."""
    return lambda: [
        monkeypatch.setattr(f"{module}.MAX_UNCONDENSED_ROWS", 10**9)
        for module in ("include.core.quality.condensed", "include.core.quality.evaluation")
    ]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("digits", [2, 16])
def test_a_metric_of_the_cells_is_that_of_the_rows(metric: Any, digits: int) -> None:
    truth, score = window(digits=digits)
    cells = condense(score, truth, THRESHOLD)
    assert len(cells.score) <= CELLS + CALIBRATION_BINS
    came_out, twice, rows = cells.outcomes()
    whole = figures(truth, score, [metric], threshold=THRESHOLD)[metric]
    of_cells = must(prepare(metric, came_out, twice, THRESHOLD))(rows)
    chance = whole.high - whole.low
    assert of_cells == pytest.approx(whole.value, abs=0.02 * chance + 1e-12)


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_a_value_is_inside_its_own_interval_also_with_a_few_confident_errors(metric: str) -> None:
    """The loss of a cell's mean score is not the mean of its rows' losses: the interval was beside the value."""
    random = np.random.default_rng(0)
    score = random.uniform(0.001, 0.999, 100_000)
    truth = (random.random(100_000) < score).astype(float)
    score[:10], truth[:10] = 1e-15, 1.0
    figure = figures(truth, score, [metric], threshold=THRESHOLD)[metric]
    middle = (figure.low + figure.high) / 2
    assert figure.low < figure.value < figure.high
    assert figure.value == pytest.approx(middle, abs=0.15 * (figure.high - figure.low))


def test_nothing_is_lost_in_cells_and_equal_scores_share_one() -> None:
    truth, score = window(digits=2)
    cells = condense(score, truth, THRESHOLD)
    assert (cells.rows.sum(), cells.true.sum()) == (ROWS, truth.sum())
    assert list(cells.score) == sorted(set(score))
    one = condense(np.full(ROWS, 0.1), truth, THRESHOLD)
    assert (list(one.score), list(one.rows)) == ([0.1], [ROWS])


def test_few_rows_stay_what_they_are() -> None:
    truth, score = window(MAX_UNCONDENSED_ROWS)
    cells = condense(score, truth, THRESHOLD)
    assert cells.score is score
    assert cells.true is truth
    assert (cells.rows == 1).all()


def test_intervals_of_cells_are_those_of_rows(row_by_row: Any) -> None:
    truth, score = window()
    cells = figures(truth, score, METRICS, threshold=THRESHOLD, resamples=400)
    row_by_row()
    rows = figures(truth, score, METRICS, threshold=THRESHOLD, resamples=400)
    for name in METRICS:
        width = rows[name].high - rows[name].low
        assert cells[name].value == rows[name].value, "the figure itself is of the rows"
        # The ends of 400 resamples are themselves uncertain: two of them differ by 5 % of the width (one sd).
        assert cells[name].low == pytest.approx(rows[name].low, abs=0.2 * width), name
        assert cells[name].high == pytest.approx(rows[name].high, abs=0.2 * width), name


def test_estimates_of_cells_are_those_of_rows(row_by_row: Any) -> None:
    estimator = calibration_map(*reversed(window(5000, seed=1)))
    _, score = window()
    cells = expected(estimator, score, METRICS, THRESHOLD, 0.95)
    row_by_row()
    rows = expected(estimator, score, METRICS, THRESHOLD, 0.95)
    for name in METRICS:
        width = rows[name].high - rows[name].low
        assert cells[name].n == rows[name].n == ROWS
        assert cells[name].value == pytest.approx(rows[name].value, abs=0.1 * width), name
        assert cells[name].high - cells[name].low == pytest.approx(width, rel=0.3), name


def test_many_broken_predictions_are_a_reason_and_no_exception() -> None:
    truth, score = window()
    score[7] = np.nan
    found = figures(truth, score, METRICS)
    assert {figure.reason for figure in found.values()} == {"1 predictions are missing or not finite"}
    estimator = calibration_map(*reversed(window(5000, seed=1)))
    assert all(figure.value is None for figure in expected(estimator, score, METRICS, 0.5, 0.95).values())
