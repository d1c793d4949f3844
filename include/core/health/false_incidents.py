"""How many incidents a year a model has that does not change, by the settings of its policy."""

from __future__ import annotations

from math import comb, log

import numpy as np
from scipy.special import ndtr

from include.core.health.chance import WINDOWS_A_YEAR
from include.core.spec import Degradation, ModelSpec
from include.core.windows import Grain

NODES = 64
"""Points of the quadrature over the reference's error."""


def by_point(policy: Degradation, grain: Grain, drop: float, error: float, reference_error: float) -> float:
    """Incidents a year if each drop counts (``degradation.confidence: none``), of a model that does not change.

    ``error`` and ``reference_error``: the standard deviations of a window's figure and of the reference, both taken as
    normal. Windows differ independently, and all are compared with the same reference, whose error is integrated over
    by Gauss-Hermite quadrature. With the reference given, a window opens an incident with the probability that it and
    k - 1 of n - 1 others are beyond the drop; after an incident, the cooldown's windows can't (a renewal process).
    """
    at, weights = np.polynomial.hermite_e.hermegauss(NODES)
    beyond = ndtr((reference_error * at - drop) / error)
    others = range(policy.breaches - 1, policy.windows)
    n = policy.windows - 1
    confirmed = sum(comb(n, k) * beyond**k * (1 - beyond) ** (n - k) for k in others)
    opened = beyond * confirmed
    rate = opened / (1 + policy.cooldown_windows * opened)
    return float(WINDOWS_A_YEAR[grain] * (weights @ rate) / weights.sum())


def at_most(policy: Degradation) -> float | None:
    """Incidents a year of a model that does not change, by design (:func:`core.health.chance.tail`): an upper estimate.

    None if each drop counts, since that depends on how much windows vary.
    """
    return None if policy.confidence == "none" else -log(policy.confidence)


def in_words(spec: ModelSpec) -> str:
    """How many incidents without a change model.yaml accepts, in a sentence."""
    policy, grain = spec.degradation, spec.monitoring.window
    limit = at_most(policy)
    if limit is not None:
        return (
            f"degradation.confidence {policy.confidence}: at most about {limit:.2g} incidents a year if the model does "
            f"not change, with windows of a {grain}"
        )
    few, many = (by_point(policy, grain, 1.0, error, error) for error in (1 / 3, 1.0))
    return (
        f"degradation.confidence none: if the model does not change and its {spec.metrics.primary} varies from {grain} "
        f"to {grain} by a third of degradation.drop, about {few:.2g} incidents a year; if by as much as it, {many:.2g}"
    )
