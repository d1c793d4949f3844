"""The pictures of a run show the holdout's predictions: their points are those of scikit-learn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from include.core.spec import ModelSpec
from include.pages.run_pictures import MOST_POINTS, calibration, confusion, draw_pictures, precision_recall, roc
from tests.support.specs import model_spec

CLASSIFICATION = ["calibration.png", "confusion_matrix.png", "precision_recall.png", "roc.png"]
REGRESSION = ["predicted_actual.png", "residuals.png", "residuals_histogram.png"]
CHURN = model_spec(name="churn", target="left")
PRICES = model_spec(name="prices", task="regression", target="price")


def outcomes(rows: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(rows)
    score = random.random(rows).round(1 if ties else 12)
    return (random.random(rows) < score).astype(float), score


@pytest.mark.parametrize("ties", [False, True])
def test_curves_have_the_points_of_scikit_learn(ties: bool) -> None:
    truth, score = outcomes(500, ties)
    expected = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(np.array(roc(truth, score)), np.array(expected[:2]))
    precision, recall, _ = precision_recall_curve(truth, score)
    np.testing.assert_allclose(precision_recall(truth, score), np.array([recall[-2::-1], precision[-2::-1]]))
    if not ties:  # on the bound of two bins, scikit-learn takes the lower one
        share, mean = calibration_curve(truth, score, n_bins=10)
        np.testing.assert_allclose(calibration(truth, score), np.array([mean, share]))
    assert confusion(truth, score, 0.3).tolist() == confusion_matrix(truth, score >= 0.3).tolist()


def test_a_large_holdout_is_drawn_with_few_points_of_the_same_curve() -> None:
    truth, score = outcomes(50_000, False)
    curve = roc(truth, score)
    assert len(curve[0]) <= MOST_POINTS + 1
    assert auc(*curve) == pytest.approx(roc_auc_score(truth, score), abs=1e-4)


@pytest.mark.parametrize(("spec", "names"), [(CHURN, CLASSIFICATION), (PRICES, REGRESSION)])
def test_each_task_has_its_pictures_and_the_same_rows_give_the_same_files(
    spec: ModelSpec, names: list[str], tmp_path: Path
) -> None:
    truth, score = outcomes(300, False)
    holdout = pd.DataFrame({spec.target: truth, "prediction": score, "champion": score[::-1]})
    holdout.loc[3, spec.target] = None
    for folder in ("first", "again"):
        draw_pictures(holdout, spec, tmp_path / folder)
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
        with Image.open(tmp_path / "first" / name) as picture:
            assert picture.size == (550, 450) and len(set(picture.convert("L").tobytes())) > 10, f"{name} is empty"


@pytest.mark.parametrize("truth", [[1, 1, 1], [None, None, None], [0, 2, 1]])
def test_truth_that_no_curve_can_be_drawn_of_draws_none(truth: list[int | None], tmp_path: Path) -> None:
    holdout = pd.DataFrame({"left": truth, "price": truth, "prediction": [0.1, 0.2, 0.3]})
    draw_pictures(holdout, CHURN, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    if truth[0] is None:
        draw_pictures(holdout, PRICES, tmp_path / "none")
        assert not (tmp_path / "none").exists()
