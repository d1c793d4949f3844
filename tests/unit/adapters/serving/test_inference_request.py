"""Requests carry the values of training data in the forms that the model was trained on."""

import pytest

from include.adapters.serving.inference_request import inference_inputs
from include.core.spec import ModelSpec
from tests.support.category_cases import CASES, NOT_BOOLEAN

SPEC = ModelSpec.model_validate(
    {
        "schema": 1,
        "name": "zones",
        "owner": "tests",
        "description": "A category and a boolean feature.",
        "repository": {"url": "repositories/zones.git"},
        "task": "regression",
        "target": "minutes",
        "features": [{"name": "zone", "type": "category"}, {"name": "night", "type": "boolean"}],
        "data": {"source": {"path": "zones/{window}.parquet"}, "key": "id", "event_time": "at"},
        "truth": {"source": {"path": "truth/{window}.parquet"}, "key": "id", "column": "minutes"},
        "metrics": {"primary": "mae"},
        "degradation": {"drop": 1.0},
    }
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_golden_example_is_sent_as_the_category_that_training_saw(case):
    """Before, a zone 3 of a column with gaps was sent as '3.0', which the model had never seen."""
    zone, night = inference_inputs(
        SPEC,
        [{"zone": value, "night": value if case.booleans != NOT_BOOLEAN else None} for value in list(case.column)],
    )
    assert zone["data"] == case.texts
    if case.booleans != NOT_BOOLEAN:
        assert night["data"] == case.booleans
