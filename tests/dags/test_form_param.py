"""A form's field is Airflow's own parameter in all but how often its default is validated."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from evergreen.form_param import FormParam

FIELDS: list[tuple[Any, dict[str, Any]]] = [
    (None, {"type": ["null", "string"], "title": "Version", "description": "Which.", "examples": ["1", "2"]}),
    (False, {"type": "boolean"}),
    ({}, {"type": ["object", "null"]}),
    ("a", {"enum": ["a", "b"]}),
    (3, {"type": "integer", "minimum": 1}),
]


@pytest.mark.parametrize(("default", "schema"), FIELDS)
def test_airflow_stores_it_as_its_own(default: Any, schema: dict[str, Any]) -> None:
    own, plain = ParamsDict({"x": FormParam(default, **schema)}), ParamsDict({"x": Param(default, **schema)})
    assert DagSerialization._serialize_params_dict(own) == DagSerialization._serialize_params_dict(plain)
    assert own == plain


@pytest.mark.parametrize(
    ("default", "schema"),
    [("c", {"enum": ["a", "b"]}), (0, {"type": "integer", "minimum": 1}), (None, {"type": "string"})],
)
def test_an_invalid_default_is_refused_each_time(default: Any, schema: dict[str, Any]) -> None:
    for _ in range(2):
        field = FormParam(default, **schema)
        with pytest.raises(ParamValidationError):
            field.resolve()
        assert field.resolve(suppress_exception=True) is None


def test_a_given_value_is_validated_and_kept() -> None:
    field = FormParam("a", enum=["a", "b"])
    assert field.resolve() == "a"
    assert field.resolve("b") == field.resolve() == "b"
    with pytest.raises(ParamValidationError):
        field.resolve("c")
    assert field.resolve() == "b"


def test_the_same_default_is_invalid_under_another_schema() -> None:
    assert FormParam("a", enum=["a"]).resolve() == "a"
    with pytest.raises(ParamValidationError):
        FormParam("a", enum=["b"]).resolve()


def test_a_field_without_default_needs_a_value() -> None:
    field = FormParam(type="string")
    with pytest.raises(ParamValidationError, match="no default"):
        field.resolve()
    assert field.resolve("a") == "a"


@pytest.mark.parametrize(("default", "schema"), FIELDS)
def test_a_tasks_copy_is_stored_as_the_dags_field(default: Any, schema: dict[str, Any]) -> None:
    field = ParamsDict({"x": FormParam(default, **schema)})
    assert DagSerialization._serialize_params_dict(deepcopy(field)) == DagSerialization._serialize_params_dict(field)


def test_what_a_task_does_to_its_copy_leaves_the_field_alone() -> None:
    field = FormParam({"a": [1]}, type="object")
    copied = deepcopy(field)
    copied.value["a"].append(2)
    copied.source = "task"
    assert (field.value, field.source) == ({"a": [1]}, None)
    copied.resolve({"b": 3})
    assert field.resolve() == {"a": [1]}
    with pytest.raises(ParamValidationError):
        copied.resolve(4)
