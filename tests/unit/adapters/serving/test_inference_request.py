"""Requests carry the values of training data in the forms that the model was trained on."""

from typing import Any

import pytest

from include.adapters.serving.inference_request import inference_inputs
from tests.support.category_cases import CASES, NOT_BOOLEAN
from tests.support.specs import columns, model_spec

SPEC = model_spec(features=columns(zone="category", night="boolean"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_golden_example_is_sent_as_the_category_that_training_saw(case: Any) -> None:
    """Before, a zone 3 of a column with gaps was sent as '3.0', which the model had never seen."""
    zone, night = inference_inputs(
        SPEC,
        [{"zone": value, "night": value if case.booleans != NOT_BOOLEAN else None} for value in list(case.column)],
    )
    assert zone["data"] == case.texts
    if case.booleans != NOT_BOOLEAN:
        assert night["data"] == case.booleans
