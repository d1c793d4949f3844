"""What a version was made with, and how today's specification differs from it.

A version answers requests for the features it was trained on, whatever ``model.yaml`` says today. What describes the
artifact comes from the specification in its bundle; what operates it (sources, schedules, limits, gates) from today's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.core.spec.data import Feature
from include.core.spec.model import ModelSpec

DESCRIBES_ARTIFACT = ("task", "target", "estimator", "feature_code", "trusted_types")
"""Fields of the specification that belong to a version, apart from its features and the columns of its requests."""


@dataclass(frozen=True)
class SpecChange:
    """The differences between two specifications that decide whether their versions are comparable."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    """Such as ``zip: integer → category``."""
    meaning: tuple[str, ...] = ()
    """Changes of what is predicted: task and target. Predictions of the two are not comparable."""
    other: tuple[str, ...] = ()
    """Other changes of the artifact's description, such as the feature code."""

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.retyped, self.meaning, self.other))

    def __str__(self) -> str:
        """In words, such as ``feature added: zip; feature removed: age``."""
        groups = {"feature added": self.added, "feature removed": self.removed, "feature retyped": self.retyped}
        named = [f"{words}: {', '.join(names)}" for words, names in groups.items() if names]
        return "; ".join([*named, *self.meaning, *self.other]) or "unchanged"

    @property
    def features_changed(self) -> bool:
        """Whether the two versions read different columns, or read a column differently."""
        return bool(self.added or self.removed or self.retyped)


def change_between(before: ModelSpec, after: ModelSpec) -> SpecChange:
    """What changed from the specification of one version to that of a later one."""
    old, new = _types(before), _types(after)
    meaning = [_changed(before, after, name) for name in ("task", "target") if _differs(before, after, name)]
    other = [_changed(before, after, name) for name in ("estimator", "feature_code") if _differs(before, after, name)]
    if (before.data.key, before.data.event_time) != (after.data.key, after.data.event_time):
        other.append(
            f"key and event time: {before.data.key}, {before.data.event_time} → {after.data.key}, "
            f"{after.data.event_time}"
        )
    return SpecChange(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        retyped=tuple(f"{name}: {old[name]} → {new[name]}" for name in new if old.get(name, new[name]) != new[name]),
        meaning=tuple(meaning),
        other=tuple(other),
    )


def spec_of_version(today: ModelSpec, recorded: Mapping[str, Any]) -> ModelSpec:
    """The specification that applies to a version: ``recorded`` is the one it was made with, as in ``spec.json``.

    Fields that ``recorded`` lacks (versions of earlier releases of Evergreen) are today's.
    """
    values: dict[str, Any] = {name: recorded[name] for name in DESCRIBES_ARTIFACT if name in recorded}
    data, metrics = recorded.get("data", {}), recorded.get("metrics", {})
    features = [_feature(each, today) for each in recorded["features"]] if "features" in recorded else today.features
    sliceable = {feature.name for feature in features if feature.type in ("category", "boolean")}
    same_task = values.get("task", today.task) == today.task
    section = today.metrics if same_task or not metrics else type(today.metrics)(**_known(metrics, today.metrics))
    measured = {
        "threshold": metrics.get("threshold", section.threshold),
        "slices": [name for name in section.slices if name in sliceable],
    }
    own = {name: data[name] for name in ("key", "event_time") if name in data}
    if today.data.dependence not in ("day", "none", *(feature.name for feature in features)):
        own["dependence"] = "day"  # the version has no such feature
    return today.model_copy(
        update=values
        | {
            "features": features,
            "metrics": section.model_copy(update=measured),
            "data": today.data.model_copy(update=own),
        }
    )


def _feature(recorded: Mapping[str, Any], today: ModelSpec) -> Feature:
    """A feature as recorded; versions of earlier releases recorded only names and types."""
    known = _known(recorded, Feature(name="any", type="number"))
    current = next((each for each in today.features if each.name == recorded["name"]), None)
    if current is not None and current.type == recorded["type"] and set(known) == {"name", "type"}:
        return current
    return Feature(**known)


def _known(recorded: Mapping[str, Any], section: Any) -> dict[str, Any]:
    """The recorded fields that this release of Evergreen knows."""
    return {name: value for name, value in recorded.items() if name in type(section).model_fields}


def _types(spec: ModelSpec) -> dict[str, str]:
    return {feature.name: feature.type for feature in spec.features}


def _differs(before: ModelSpec, after: ModelSpec, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _changed(before: ModelSpec, after: ModelSpec, name: str) -> str:
    return f"{name}: {getattr(before, name) or 'none'} → {getattr(after, name) or 'none'}"
