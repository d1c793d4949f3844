"""Pictures of a candidate's predictions on the holdout, for its run in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from include.core.quality.metrics import CALIBRATION_BINS
from include.core.spec import ModelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]
Curve = Callable[[Array, Array], tuple[Array, Array]]
"""From truth and prediction of the rows to the points of a curve: x and y."""

MOST_POINTS = 1000
"""So many points of a curve and rows of a scatter plot are drawn."""
CHAMPION, CANDIDATE = "#999999", "#1f77b4"


def draw_pictures(holdout: pd.DataFrame, spec: ModelSpec, folder: Path) -> None:
    """Write the task's pictures as PNG into ``folder``; none without ground truth, or with the truth of one class only.

    ``holdout`` has the columns ``prediction``, ``spec.target`` and, if there was one, ``champion``.
    """
    truth = pd.to_numeric(holdout[spec.target], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    names = [name for name in ("champion", "prediction") if name in holdout]
    known = np.isfinite(truth)
    predicted = {name: holdout[name].to_numpy(dtype=float)[known] for name in names}
    truth = truth[known]
    if spec.task == "binary_classification":
        if set(np.unique(truth)) == {0.0, 1.0}:
            _classification(truth, predicted, spec.metrics.threshold, folder)
    elif len(truth):
        _regression(truth, predicted["prediction"], folder)


def _classification(truth: Array, predicted: dict[str, Array], threshold: float, folder: Path) -> None:
    def curves(curve: Curve, title: str, x: str, y: str, diagonal: bool) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            if diagonal:
                axes.plot([0, 1], [0, 1], color="black", linewidth=0.5, linestyle=":")
            for name, score in predicted.items():
                colour, label = (CHAMPION, "champion") if name == "champion" else (CANDIDATE, "this version")
                axes.plot(*curve(truth, score), color=colour, label=label, marker="." if curve is calibration else "")
            axes.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
            axes.legend()

        return draw

    _save(folder / "roc.png", curves(roc, "ROC", "false positive rate", "true positive rate", True))
    _save(
        folder / "precision_recall.png", curves(precision_recall, "Precision and recall", "recall", "precision", False)
    )
    _save(
        folder / "calibration.png",
        curves(calibration, "Calibration", "predicted probability", "share of positives", True),
    )
    counts = confusion(truth, predicted["prediction"], threshold)

    def draw_confusion(axes: Axes) -> None:
        axes.imshow(counts, cmap="Blues")
        for (actual, said), count in np.ndenumerate(counts):
            shade = "white" if count > counts.max() / 2 else "black"
            axes.text(said, actual, f"{count}\n{count / counts.sum():.1%}", ha="center", va="center", color=shade)
        axes.set(title=f"Confusion matrix at {threshold:g}", xlabel="predicted", ylabel="actual")
        axes.set_xticks([0, 1])
        axes.set_yticks([0, 1])

    _save(folder / "confusion_matrix.png", draw_confusion)


def _regression(truth: Array, prediction: Array, folder: Path) -> None:
    rows = _spread(len(truth))

    def draw_actual(axes: Axes) -> None:
        ends = [min(truth.min(), prediction.min()), max(truth.max(), prediction.max())]
        axes.plot(ends, ends, color="black", linewidth=0.5, linestyle=":")
        axes.scatter(truth[rows], prediction[rows], s=6, alpha=0.4, color=CANDIDATE)
        axes.set(title="Predicted and actual", xlabel="actual", ylabel="predicted")

    def draw_residuals(axes: Axes) -> None:
        axes.axhline(0, color="black", linewidth=0.5, linestyle=":")
        axes.scatter(prediction[rows], (truth - prediction)[rows], s=6, alpha=0.4, color=CANDIDATE)
        axes.set(title="Residuals", xlabel="predicted", ylabel="actual minus predicted")

    def draw_histogram(axes: Axes) -> None:
        axes.hist(truth - prediction, bins=50, color=CANDIDATE)
        axes.set(title="Distribution of residuals", xlabel="actual minus predicted", ylabel="rows")

    _save(folder / "predicted_actual.png", draw_actual)
    _save(folder / "residuals.png", draw_residuals)
    _save(folder / "residuals_histogram.png", draw_histogram)


def roc(truth: Array, score: Array) -> tuple[Array, Array]:
    """False and true positive rates, from the highest threshold to the lowest."""
    hits, taken = _ranked(truth, score)
    return np.r_[0.0, (taken - hits) / (len(truth) - truth.sum())], np.r_[0.0, hits / truth.sum()]


def precision_recall(truth: Array, score: Array) -> tuple[Array, Array]:
    """Recall and precision, from the highest threshold to the lowest."""
    hits, taken = _ranked(truth, score)
    return hits / truth.sum(), hits / taken


def calibration(truth: Array, score: Array) -> tuple[Array, Array]:
    """Mean probability and share of positives in bins of equal width; empty bins are left out."""
    bins = np.clip((score * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    used = rows > 0
    means = [np.bincount(bins, values, minlength=CALIBRATION_BINS)[used] / rows[used] for values in (score, truth)]
    return means[0], means[1]


def confusion(truth: Array, score: Array, threshold: float) -> Array:
    """Numbers of rows, shape [actual, predicted], each 0 or 1."""
    return np.bincount(2 * truth.astype(int) + (score >= threshold), minlength=4).reshape(2, 2)


def _ranked(truth: Array, score: Array) -> tuple[Array, Array]:
    """Positives and rows from each distinct threshold on, the highest first."""
    order = np.argsort(-score, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]
    last = last[_spread(len(last))]
    return np.cumsum(truth[order])[last], last + 1.0


def _spread(count: int) -> Array:
    """Indices of at most MOST_POINTS of so many items, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.5, 4.5), dpi=100, layout="tight")
    draw(figure.add_subplot())
    figure.savefig(path, metadata={"Software": None})  # the same predictions give the same file
