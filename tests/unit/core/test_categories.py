"""A category has one text, and a boolean one truth value, in whatever form the data brings it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.core.categories import boolean_value, category_text, category_texts
from include.core.drift.counts import count_column
from include.core.drift.profile import build_profile, read_profile
from include.core.quality.losses import build_loss_tree, estimate_losses
from include.core.spec import Feature
from include.runtime.frames import feature_frame
from include.runtime.jobs import ModelError
from tests.support.category_cases import CASES, NOT_BOOLEAN
from tests.support.specs import columns, model_spec

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
NIGHT_RIDES = model_spec(task="regression", target="minutes", features=columns(night="boolean"))
"""A boolean feature that its data holds as 0 and 1."""


def typed(case: Any, kind: Any) -> Any:
    return feature_frame({"x": case.column}, [{"name": "x", "type": kind}])["x"]


@every_case
def test_the_platform_gives_a_category_its_one_text(case: Any) -> None:
    found = category_texts(pd.Series(case.column), "category")
    assert found.tolist() == case.texts
    assert found.dtype == object
    assert [category_text(value) for value in pd.Series(case.column).astype("object")] == case.texts


@every_case
def test_the_runtime_gives_a_category_the_same_text(case: Any) -> None:
    found = typed(case, "category")
    assert found.tolist() == case.texts
    assert found.dtype == object


@every_case
def test_the_platform_knows_a_boolean_in_every_form(case: Any) -> None:
    if case.booleans == NOT_BOOLEAN:
        with pytest.raises(ValueError, match="is not a boolean"):
            [boolean_value(value) for value in pd.Series(case.column).astype("object")]
        return
    expected = [None if value is None else str(value).lower() for value in case.booleans]
    assert category_texts(pd.Series(case.column), "boolean").tolist() == expected
    assert [boolean_value(value) for value in pd.Series(case.column).astype("object")] == case.booleans


@every_case
def test_the_runtime_knows_a_boolean_in_the_same_forms(case: Any) -> None:
    if case.booleans == NOT_BOOLEAN:
        with pytest.raises(ModelError, match="column 'x' .* Correct the data, or the type in model.yaml"):
            typed(case, "boolean")
        return
    found = typed(case, "boolean")
    assert found.dtype == "float64"
    np.testing.assert_array_equal(found, [np.nan if value is None else float(value) for value in case.booleans])


def test_what_is_not_a_boolean_counts_as_an_error_of_type_and_not_as_false() -> None:
    count = count_column(pd.Series([True, "yes", None, 1]), Feature(name="night", type="boolean"), None)
    assert (count.rows, count.missing, count.type_errors) == (4, 2, 1)


@pytest.mark.parametrize("form", [bool, int, float, str, np.bool_], ids=lambda form: form.__name__)
def test_a_boolean_of_the_log_is_estimated_as_it_is_in_training_data(form: Any) -> None:
    """Training data holds 0 and 1, the log true and false: the estimate was that of all rows (8.35), silently."""
    random = np.random.default_rng(0)
    night = random.integers(0, 2, 2_000)
    holdout = pd.DataFrame(
        {"night": night, "minutes": np.where(night, random.normal(0, 10, 2_000), random.normal(0, 1, 2_000))}
    )
    tree = build_loss_tree(holdout.assign(prediction=0.0), NIGHT_RIDES)
    window = pd.DataFrame({"night": pd.Series([form(False)] * 500, dtype="object"), "prediction": 0.0})
    found = estimate_losses(tree, window, NIGHT_RIDES)["mae"]
    assert found.value == pytest.approx(0.81, abs=0.08)


@pytest.mark.parametrize("form", [bool, int, float, np.bool_], ids=lambda form: form.__name__)
def test_a_boolean_has_the_same_bins_in_every_form(form: Any) -> None:
    values = pd.Series([False, True, True], dtype="object")
    profile = build_profile(pd.DataFrame({"night": values.map(form)}), NIGHT_RIDES, [0.0])
    assert profile["features"]["night"]["counts"] == {"true": 2, "false": 1}


@pytest.mark.parametrize("former", [("True", "False"), ("1", "0"), ("1.0", "0.0"), ("true", "false")])
def test_a_version_of_before_keeps_its_profile_and_its_estimates(former: Any) -> None:
    """Version 0.1.0 wrote booleans in several forms; its versions go on serving after an upgrade."""
    random = np.random.default_rng(0)
    night = random.integers(0, 2, 2_000)
    minutes = np.where(night, random.normal(0, 10, 2_000), random.normal(0, 1, 2_000))
    holdout = pd.DataFrame({"night": night, "minutes": minutes, "prediction": 0.0})
    tree, profile = build_loss_tree(holdout, NIGHT_RIDES), build_profile(holdout, NIGHT_RIDES, [0.0])
    names = dict(zip(("true", "false"), former, strict=True))
    old_tree: Any = {
        **tree,
        "categories": {"night": {names[text]: code for text, code in tree["categories"]["night"].items()}},
    }
    described: Any = profile["features"]["night"]
    old_counts = {names[text]: count for text, count in described["counts"].items()}
    old_profile: Any = {**profile, "features": {"night": {**described, "counts": old_counts}}}
    window = pd.DataFrame({"night": [False, True] * 250, "prediction": 0.0})
    assert estimate_losses(old_tree, window, NIGHT_RIDES) == estimate_losses(tree, window, NIGHT_RIDES)
    assert read_profile(old_profile, NIGHT_RIDES) == profile
