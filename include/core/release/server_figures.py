"""The counters of a model server, and distributions as cumulative histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from include.core.json_types import JsonObject


@dataclass(frozen=True)
class ServerFigures:
    """Counters of one model server, as read from its metrics (or their growth since a baseline)."""

    requests: int = 0
    errors: int = 0
    """Requests answered with 5xx."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Upper bound in seconds (text, '+Inf' the last) → cumulative count."""
    predictions: Mapping[str, float] = field(default_factory=dict)
    """Upper bound of the prediction → cumulative count."""
    started: float = 0.0
    """Start of the process, epoch seconds."""
    refused: int = 0
    """Requests answered with 4xx."""
    rows: int = 0
    """Predicted rows."""

    @property
    def answered(self) -> int:
        """Requests that were answered with predictions, or with an error of the server."""
        return self.requests - self.refused

    def as_dict(self) -> JsonObject:
        """The counters, as JSON values."""
        return asdict(self) | {"latency": dict(self.latency), "predictions": dict(self.predictions)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> ServerFigures:
        """The counters from the output of :meth:`as_dict`."""
        return cls(**values)

    def since(self, baseline: ServerFigures | None) -> ServerFigures:
        """The growth since ``baseline``; the counters themselves if the process restarted (they start at 0)."""
        if baseline is None or baseline.started != self.started:
            return self
        return ServerFigures(
            self.requests - baseline.requests,
            self.errors - baseline.errors,
            {bound: count - baseline.latency.get(bound, 0) for bound, count in self.latency.items()},
            {bound: count - baseline.predictions.get(bound, 0) for bound, count in self.predictions.items()},
            self.started,
            self.refused - baseline.refused,
            self.rows - baseline.rows,
        )


def quantile(histogram: Mapping[str, float], share: float) -> float | None:
    """The quantile ``share`` of a cumulative histogram (linear within a bucket, as in PromQL)."""
    points = sorted((_bound(text), count) for text, count in histogram.items())
    if not points or points[-1][1] <= 0:
        return None
    target, below, lower = share * points[-1][1], 0.0, 0.0
    for bound, count in points:
        if count >= target:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (target - below) / max(count - below, 1e-12)
        below, lower = count, bound
    return lower


def shift(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Kolmogorov-Smirnov distance (0 to 1) of two cumulative histograms, whose bounds may differ."""
    curves = [_distribution(first), _distribution(second)]
    if not all(curves):
        return None
    bounds = sorted({bound for curve in curves for bound, _ in curve})
    return max(abs(_share_below(curves[0], bound) - _share_below(curves[1], bound)) for bound in bounds)


def count_above(histogram: Mapping[str, float], bound: str) -> float:
    """How many values of a cumulative histogram lie above one of its bounds."""
    return max(histogram.values(), default=0.0) - histogram[bound]


def bound_of(histogram: Mapping[str, float], share: float) -> str:
    """The first bound of a cumulative histogram, which is not empty, with at least ``share`` of the values below it."""
    total = max(histogram.values())
    return next(text for text in sorted(histogram, key=_bound) if histogram[text] >= share * total)


def common_bounds(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Both cumulative histograms, with the bounds that both have: servers of two releases may differ in them."""
    bounds = [text for text in first if text in second]
    return {text: first[text] for text in bounds}, {text: second[text] for text in bounds}


def _bound(text: str) -> float:
    return math.inf if text == "+Inf" else float(text)


def _distribution(histogram: Mapping[str, float]) -> list[tuple[float, float]]:
    points = sorted((_bound(text), count) for text, count in histogram.items())
    total = points[-1][1] if points else 0
    if total <= 0:
        return []
    return [(bound, count / total) for bound, count in points if not math.isinf(bound)] or [(0.0, 0.0)]


def _share_below(curve: list[tuple[float, float]], value: float) -> float:
    lower, below = curve[0]
    if value <= lower:
        return below if value == lower else 0.0
    for bound, share in curve[1:]:
        if value <= bound:
            return below + (share - below) * (value - lower) / (bound - lower)
        lower, below = bound, share
    return 1.0
