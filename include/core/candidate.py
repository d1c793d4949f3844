"""A registered version with what promotion said of it, as lists and pages show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from include.core.build import Lineage
from include.core.json_types import JsonObject
from include.core.quality.figures import Quality, QualityFigure
from include.core.spec import ModelSpec
from include.core.verdict import Verdict


@dataclass(frozen=True)
class CandidateRecord:
    """One version: where it comes from, its figure on the holdout, and promotion's verdict."""

    version: str
    verdict: Verdict
    commit: str
    build: str
    snapshot: str
    """Hash of the data that it was trained on."""
    window: str
    """The newest window of the snapshot."""
    run_id: str
    """Dag run of ``<model>.training``."""
    reason: str
    """Why it was trained."""
    incident: str
    """The incident that the training responded to, or empty."""
    metric: str
    value: float | None
    low: float | None
    high: float | None
    """The primary metric on the holdout, with its interval."""
    importances: Mapping[str, float] = field(default_factory=dict)
    """Feature → its share of the total permutation importance, 0 to 1; empty if it was not measured."""
    recorded: float = field(default=0.0, compare=False)
    """When it was registered (epoch seconds)."""

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        version: str,
        verdict: Verdict,
        lineage: Lineage,
        quality: Quality,
        importances: Mapping[str, float],
    ) -> CandidateRecord:
        """The record of a version, from its lineage, and its ``quality`` and ``importances`` on the holdout."""
        figure = quality.get(spec.metrics.primary) or QualityFigure(None)
        return cls(
            version=version,
            verdict=verdict,
            commit=lineage.commit,
            build=lineage.build,
            snapshot=lineage.snapshot,
            window=lineage.window,
            run_id=lineage.run_id,
            reason=lineage.reason,
            incident=lineage.incident or "",
            metric=spec.metrics.primary,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            importances={name: importances[name] for name in spec.feature_names if name in importances},
        )

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return asdict(self) | {"verdict": self.verdict.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object], recorded: float) -> CandidateRecord:
        """The record from the output of :meth:`as_dict`."""
        known: JsonObject = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        return cls(**{**known, "verdict": Verdict.from_dict(known["verdict"]), "recorded": recorded})
