"""Writes ``cbpe_by_nannyml.json``: what NannyML 0.13.1 estimates of the samples that test_estimation.py makes too.

The suite needs only the file. To write it again, in an environment of its own, from the project's folder:

    uv venv nannyml && uv pip install --python nannyml/bin/python nannyml==0.13.1 statsmodels
    PYTHONPATH=. nannyml/bin/python -m tests.unit.core.quality.cbpe_by_nannyml
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = {
    "roc_auc": "roc_auc",
    "average_precision": "pr_auc",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
}
ROWS = 10_000


def sample(seed: int, shift: float, bend: float) -> pd.DataFrame:
    """Scores, rounded so that some are tied, and truth; ``shift`` moves inputs, ``bend`` calibration."""
    random = np.random.default_rng(seed)
    logit = random.normal(shift - 0.5, 1.5, ROWS)
    truth = random.random(ROWS) < 1 / (1 + np.exp(-logit))
    return pd.DataFrame({"score": np.round(1 / (1 + np.exp(-bend * logit)), 4), "truth": truth.astype(int)})


CASES = {
    f"bend {bend:g}, shift {shift:g}": (bend, shift)
    for bend, shift in ((1.0, 0.0), (1.0, 1.0), (2.0, 0.0), (2.0, 1.0), (0.5, -0.7))
}


def main() -> None:
    import nannyml

    found = {}
    for case, (bend, shift) in CASES.items():
        frames = [sample(1, 0.0, bend), sample(2, shift, bend)]
        reference, window = (frame.assign(said=(frame.score >= 0.5).astype(int)) for frame in frames)
        estimator = nannyml.CBPE(
            problem_type="classification_binary", y_pred_proba="score", y_pred="said", y_true="truth",
            metrics=list(NAMES), chunk_size=ROWS,
        ).fit(reference)  # fmt: skip
        table = estimator.estimate(window.drop(columns="truth")).filter(period="analysis").to_df()
        found[case] = {
            "calibrated": bool(estimator.needs_calibration),
            "estimates": {ours: float(table[(theirs, "value")].iloc[0]) for theirs, ours in NAMES.items()},
        }
    text = json.dumps({"nannyml": nannyml.__version__, "cases": found}, indent=1)
    (Path(__file__).parent / "cbpe_by_nannyml.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
