"""Prediction requests in the Open Inference Protocol v2: rows as named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from include.core.categories import boolean_value, category_text
from include.core.spec import ModelSpec

DATATYPES = {"integer": "INT64", "number": "FP64", "category": "BYTES", "boolean": "BOOL"}


class InferenceInput(TypedDict):
    """A named column of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


def inference_inputs(spec: ModelSpec, rows: Sequence[Mapping[str, object]]) -> list[InferenceInput]:
    """Rows as the protocol's named columns, missing values as null, with key and event time if the rows have them."""
    columns = [(feature.name, DATATYPES[feature.type]) for feature in spec.features]
    columns += [(name, "BYTES") for name in (spec.data.key, spec.data.event_time) if rows and name in rows[0]]
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": datatype,
            "data": [_value(row.get(name), datatype) for row in rows],
        }
        for name, datatype in dict(columns).items()
    ]


def _value(value: Any, datatype: str) -> Any:
    if category_text(value) is None:
        return None
    if datatype == "INT64":
        return int(value)
    if datatype == "FP64":
        return float(value)
    if datatype == "BOOL":
        return boolean_value(value)
    return value.isoformat() if hasattr(value, "isoformat") else category_text(value)
