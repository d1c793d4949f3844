"""Predicts late arrivals of flights: gradient-boosted trees on schedule, plane and weather."""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingClassifier

CATEGORIES = ["carrier", "origin", "destination"]


def estimator(
    iterations: int = 100,
    learning_rate: float = 0.1,
    leaves: int = 31,
    smallest_leaf: int = 20,
    regularization: float = 0.0,
    seed: int = 0,
) -> HistGradientBoostingClassifier:
    """An unfitted classifier for a data frame with the features of model.yaml.

    Categories are text columns; the classifier encodes them itself and handles missing and unseen values.
    """
    return HistGradientBoostingClassifier(
        max_iter=iterations,
        learning_rate=learning_rate,
        max_leaf_nodes=leaves,
        min_samples_leaf=smallest_leaf,
        l2_regularization=regularization,
        categorical_features=CATEGORIES,
        random_state=seed,
    )
