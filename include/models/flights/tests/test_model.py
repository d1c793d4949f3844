"""The estimator learns, tells late from punctual flights, and takes what production sends."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from model import CATEGORIES, estimator


def flights(rows: int = 600, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Made-up flights: late in the evening, in bad sight, and with one carrier more than with the others."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "departure_hour": random.uniform(5, 24, rows),
            "distance": random.uniform(80, 5000, rows),
            "carrier": random.choice(["AA", "UA", "EV"], rows),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows),
            "destination": random.choice(["BOS", "IAH", "LAX"], rows),
            "visibility": random.choice([1.0, 5.0, 10.0], rows),
        }
    )
    risk = 0.3 * (frame["departure_hour"] - 15) - 0.4 * (frame["visibility"] - 5) + 2.0 * (frame["carrier"] == "EV")
    return frame, (random.random(rows) < 1 / (1 + np.exp(-risk))).to_numpy()


def test_it_ranks_late_flights_above_punctual_ones():
    model = estimator(iterations=40).fit(*flights())
    unseen, late = flights(seed=1)
    assert roc_auc_score(late, model.predict_proba(unseen)[:, 1]) > 0.75


def test_the_same_data_gives_the_same_model():
    frame, late = flights()
    first, second = (estimator(iterations=10).fit(frame, late).predict_proba(frame) for _ in range(2))
    assert np.allclose(first, second, rtol=1e-6)


def test_missing_values_and_unseen_categories_get_a_probability():
    frame, late = flights()
    model = estimator(iterations=10).fit(frame, late)
    odd = frame.head(4).astype(dict.fromkeys(CATEGORIES, object))
    odd.loc[odd.index[0], "carrier"] = "ZZ"
    odd.loc[odd.index[1], "destination"] = None
    odd.loc[odd.index[2], ["distance", "visibility"]] = np.nan
    odd.loc[odd.index[3], CATEGORIES] = None
    predicted = model.predict_proba(odd)
    assert predicted.shape == (4, 2)
    assert np.isfinite(predicted).all()


def test_parameters_reach_the_trees():
    frame, late = flights()
    assert estimator(iterations=7).fit(frame, late)[-1].n_iter_ == 7
    shallow = estimator(iterations=1, leaves=4).fit(frame, late)[-1]
    assert shallow._predictors[0][0].get_n_leaf_nodes() <= 4
