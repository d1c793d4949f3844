"""Records of drift figures: for a column, for all features together, and for the window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

from include.core.json_types import JsonObject, with_present_names

DriftStatus = Literal["steady", "drifted", "insufficient", "unknown"]
"""``unknown``: no rows or no reference; ``insufficient``: too few rows, which never counts as drift."""

SCORES = ("psi", "ks", "wasserstein", "js", "chi_square", "total_variation", "range_psi")
"""The scores that a column may have, depending on its kind."""


@dataclass(frozen=True)
class SideBySide:
    """Shares of rows in a few bins with readable labels; each side's shares sum to 1."""

    bins: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> SideBySide:
        """The shares from the output of :meth:`as_dict`."""
        return cls(tuple(values["bins"]), tuple(values["reference"]), tuple(values["window"]))


@dataclass(frozen=True)
class DriftFigure:
    """How far a column is from its reference."""

    scores: Mapping[str, float | None] = field(default_factory=lambda: {"psi": None})
    """Score → value; None if there is no distance. ``psi`` is always present."""
    missing: float | None = None
    reference_missing: float | None = None
    """Shares of missing values in the window and in the reference."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Score → its standard error."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Deciding score → the limit that it exceeds without drift only at the accepted false alarm rate."""
    status: DriftStatus = "unknown"
    reason: str | None = None
    """Why it is ``insufficient``."""
    new: Mapping[str, int] | None = None
    """New categories → rows; None for numbers."""
    vanished: tuple[str, ...] | None = None
    """Categories that no longer occur; None for numbers."""
    distribution: SideBySide | None = None
    """Only for the features that drifted most and for the prediction."""

    @property
    def psi(self) -> float | None:
        """Population stability index."""
        return self.scores["psi"]

    @property
    def total_variation(self) -> float | None:
        """The share of rows that would have to change bins."""
        return self.scores.get("total_variation")

    def as_dict(self) -> JsonObject:
        """JSON values: the scores are at the top level; fields that only some columns have are omitted for others."""
        rest = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("scores", *_OPTIONAL)}
        optional: JsonObject = {} if self.reason is None else {"reason": self.reason}
        if self.new is not None and self.vanished is not None:
            optional |= {"new": dict(self.new), "vanished": list(self.vanished)}
        if self.distribution is not None:
            optional |= {"distribution": self.distribution.as_dict()}
        return {**self.scores, **rest, **optional}

    @classmethod
    def from_dict(cls, values: JsonObject) -> DriftFigure:
        """The figure from the output of :meth:`as_dict`."""
        values = with_present_names(values)
        if "errors" in values:
            values["errors"] = with_present_names(values["errors"])
        scores = {name: value for name, value in values.items() if name in SCORES}
        rest = {name: value for name, value in values.items() if name not in (*SCORES, "vanished", "distribution")}
        vanished, distribution = values.get("vanished"), values.get("distribution")
        return cls(
            scores=scores,
            vanished=None if vanished is None else tuple(vanished),
            distribution=None if distribution is None else SideBySide.from_dict(distribution),
            **rest,
        )


_OPTIONAL = ("reason", "new", "vanished", "distribution")


@dataclass(frozen=True)
class FeatureShare:
    """A feature and its share of the total permutation importance."""

    feature: str
    share: float


@dataclass(frozen=True)
class DrawnFrom:
    """The number of rows from which the samples were drawn."""

    window: int
    reference: int


@dataclass(frozen=True)
class MultivariateFigure:
    """How well a classifier distinguishes the window's rows from the reference's."""

    status: DriftStatus
    reason: str | None = None
    """Why the test could not be made."""
    auc: float | None = None
    error: float | None = None
    """Standard error of the AUC."""
    low: float | None = None
    high: float | None = None
    """Its interval, with the spec's confidence."""
    limit: float | None = None
    """The AUC that is exceeded without drift only at the accepted false alarm rate."""
    total_variation: float | None = None
    """A lower bound of the total variation distance."""
    importances: tuple[FeatureShare, ...] = ()
    """The most important features, by permutation importance."""
    rows: int | None = None
    reference_rows: int | None = None
    drawn_from: DrawnFrom | None = None
    runs: int | None = None
    """How many runs of the reference's own days were compared as well; None: not needed, or rows are independent."""

    @property
    def judged(self) -> bool:
        """Whether the test could be made."""
        return self.status in ("steady", "drifted")

    def as_dict(self) -> JsonObject:
        """JSON values."""
        values = {**asdict(self), "importances": [asdict(one) for one in self.importances]}
        return values if self.runs is not None else {name: value for name, value in values.items() if name != "runs"}

    @classmethod
    def from_dict(cls, values: JsonObject) -> MultivariateFigure:
        """The figure from the output of :meth:`as_dict`."""
        values = with_present_names(values)
        drawn_from = values["drawn_from"]
        read = {
            "importances": tuple(FeatureShare(**one) for one in values["importances"]),
            "drawn_from": None if drawn_from is None else DrawnFrom(**drawn_from),
        }
        return cls(**{**values, **read})


@dataclass(frozen=True)
class DriftSummary:
    """Drift of a window: of each feature, of the prediction, and of all features together."""

    features: Mapping[str, DriftFigure]
    prediction: DriftFigure
    multivariate: MultivariateFigure
    drifted: tuple[str, ...]
    """Names of the drifted columns, possibly including ``prediction``."""
    status: DriftStatus
    false_alarm_rate: float
    effect_at_least: float
    """``monitoring.drift_false_alarm_rate`` and ``monitoring.drift_effect_at_least`` when it was judged."""
    basis: str = ""
    """What the limits take into account; empty in rows of before it was said."""

    @property
    def columns(self) -> dict[str, DriftFigure]:
        """The features and the prediction."""
        return {**self.features, "prediction": self.prediction}

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return {
            "features": {name: figure.as_dict() for name, figure in self.features.items()},
            "prediction": self.prediction.as_dict(),
            "multivariate": self.multivariate.as_dict(),
            "drifted": list(self.drifted),
            "status": self.status,
            "false_alarm_rate": self.false_alarm_rate,
            "effect_at_least": self.effect_at_least,
            **({"basis": self.basis} if self.basis else {}),
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> DriftSummary:
        """The drift from the output of :meth:`as_dict`."""
        return cls(
            features={name: DriftFigure.from_dict(figure) for name, figure in values["features"].items()},
            prediction=DriftFigure.from_dict(values["prediction"]),
            multivariate=MultivariateFigure.from_dict(values["multivariate"]),
            drifted=tuple(values["drifted"]),
            status=values["status"],
            false_alarm_rate=values["false_alarm_rate"],
            effect_at_least=values["effect_at_least"],
            basis=values.get("basis", ""),
        )
