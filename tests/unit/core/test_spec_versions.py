"""What a version was made with stays; what operates it is today's."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.spec import ModelSpec, change_between, spec_of_version
from tests.support.specs import columns, model_spec

OLD = model_spec(features=columns(distance="number", origin="category", night="boolean"), metrics={"threshold": 0.3})


def recorded(spec: ModelSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": columns(distance="number")},
        {"features": columns(night="boolean", origin="category", distance="number")},
        {"features": columns(distance="category", origin="number", night="category")},
        {"features": columns(length="number", origin="category", night="boolean")},
        {"target": "cancelled", "truth": {"column": "cancelled"}},
        {"task": "regression", "metrics": {"primary": "mae"}},
        {"feature_code": "model:prepare", "estimator": "model:other"},
        {"trusted_types": ["features.Clean"]},
        {"data": {"key": "number", "event_time": "departure"}},
        {"metrics": {"threshold": 0.7}},
    ],
    ids=str,
)
def test_what_describes_a_version_is_what_it_was_made_with(changes: dict[str, Any]) -> None:
    today = model_spec(**changes)
    own = spec_of_version(today, recorded(OLD))
    for name in ("features", "task", "target", "estimator", "feature_code", "trusted_types"):
        assert getattr(own, name) == getattr(OLD, name), name
    assert (own.data.key, own.data.event_time) == ("id", "at")
    assert own.metrics.threshold == 0.3
    assert own.metrics.primary == "roc_auc"


def test_what_operates_a_version_is_todays() -> None:
    today = model_spec(
        owner="others",
        data={"source": {"path": "elsewhere/{window}.csv"}},
        truth={"delay_hours": 1},
        monitoring={"window": "day"},
        degradation={"drop": 0.2},
        deployment={"memory_mb": 512},
        training={"windows": 3},
        promotion={"threshold": 0.6},
        metrics={"also": ["brier"]},
    )
    own = spec_of_version(today, recorded(OLD))
    for name in ("owner", "truth", "monitoring", "degradation", "deployment", "training", "promotion", "repository"):
        assert getattr(own, name) == getattr(today, name), name
    assert own.data.source == today.data.source
    assert own.metrics.also == ["brier"]


def test_a_slice_is_only_measured_for_a_version_that_has_it_as_a_category() -> None:
    today = model_spec(features=columns(zone="category", origin="category"), metrics={"slices": ["zone", "origin"]})
    assert spec_of_version(today, recorded(OLD)).metrics.slices == ["origin"]


def test_versions_of_earlier_releases_recorded_names_and_types_and_keep_todays_expectations() -> None:
    today = model_spec(features=[{"name": "distance", "type": "number", "maximum": 9.0}, *columns(zone="category")])
    described = {"task": "binary_classification", "features": columns(distance="number", origin="category")}
    own = spec_of_version(today, described)
    assert own.feature_names == ["distance", "origin"]
    assert own.features[0].maximum == 9.0
    assert own.estimator == today.estimator


def test_a_field_that_a_later_release_recorded_is_ignored() -> None:
    newer = recorded(OLD) | {"colour": "green"}
    newer["features"] = [{**feature, "unit": "miles"} for feature in newer["features"]]
    assert spec_of_version(model_spec(), newer).features == OLD.features


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "unchanged"),
        ({"features": OLD.features[::-1]}, "unchanged"),
        ({"features": [*OLD.features[:2], *columns(rain="number")]}, "feature added: rain; feature removed: night"),
        (
            {"features": [*columns(distance="category"), *OLD.features[1:]]},
            "feature retyped: distance: number → category",
        ),
        ({"feature_code": "model:prepare"}, "feature_code: none → model:prepare"),
        ({"target": "cancelled"}, "target: late → cancelled"),
        ({"data": {"key": "number"}}, "key and event time: id, at → number, at"),
    ],
)
def test_a_change_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    change = change_between(OLD, model_spec(**{"features": OLD.features, **changes}))
    assert str(change) == words
    assert bool(change) == (words != "unchanged")


@pytest.mark.parametrize(("today", "own"), [("night", "night"), ("session", "day"), ("day", "day"), ("none", "none")])
def test_a_version_without_the_feature_that_rows_depend_by_is_measured_by_day(today: str, own: str) -> None:
    """Else its windows could not be measured once model.yaml names a feature that was added later."""
    names = columns(distance="number", origin="category", night="boolean", session="integer")
    spec = model_spec(features=names, data={"dependence": today})
    assert spec_of_version(spec, recorded(OLD)).data.dependence == own
