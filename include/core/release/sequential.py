"""Sequential tests of shares: looking at them after each request, as a canary does, does not inflate their errors.

A share against two hypotheses: A. Wald, *Sequential Analysis* (1947), chapter 5. Counts of two servers: M. Lindon, A.
Malek, "Anytime-valid inference for multinomial count data", arXiv 2011.03567 (2020), and M. Lindon, C. Sanden, V.
Shirikian, "Rapid regression detection in software deployments through sequential testing", arXiv 2205.14762 (2022).
"""

from __future__ import annotations

import math

RATIOS = (1.5, 2.0, 4.0, 8.0, math.inf)
"""How many times larger one share may be than the other: the alternatives that are averaged in :func:`log_excess`."""


def log_likelihood_ratio(count: float, total: float, share: float, larger: float) -> float:
    """Log of how much likelier ``count`` of ``total`` is with a share of ``larger`` than with one of ``share``.

    Both are in (0, 1), and ``larger`` is the larger one. If the true share is at most ``share``, this ever exceeds
    ``-log(alpha)`` with a probability of at most alpha; if it is at least ``larger``, it ever falls below ``log(beta)``
    with a probability of at most beta (Ville's inequality; Wald's boundaries are the same but for his terms 1 - alpha
    and 1 - beta).
    """
    return count * math.log(larger / share) + (total - count) * math.log((1 - larger) / (1 - share))


def log_excess(count: float, total: float, other_count: float, other_total: float) -> float:
    """Log of the evidence that the share ``count / total`` is larger than ``other_count / other_total``.

    If both shares are equal, each counted event is of the first server with a probability of ``total / (total +
    other_total)``. The evidence is the likelihood ratio against that, averaged over the alternatives of RATIOS; it ever
    exceeds ``-log(alpha)`` with a probability of at most alpha. 0 if one of them has no requests.
    """
    if not total or not other_total:
        return 0.0
    expected = total / (total + other_total)
    logs = []
    for ratio in RATIOS:
        odds = ratio * expected / (1 - expected)
        first = odds / (1 + odds) if math.isfinite(odds) else 1.0
        if first == 1.0 and other_count:
            continue
        missed = other_count * math.log((1 - first) / (1 - expected)) if other_count else 0.0
        logs.append(count * math.log(first / expected) + missed)
    highest = max(logs)
    return highest + math.log(sum(math.exp(each - highest) for each in logs) / len(RATIOS))
