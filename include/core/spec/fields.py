"""Types of single fields, and the base of all sections of the spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Column = Annotated[str, Field(min_length=1, max_length=128)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percentage = Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,4})?\s?%$")]
Entrypoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
FeatureType = Literal["integer", "number", "category", "boolean"]
Task = Literal["binary_classification", "regression"]

RESERVED = frozenset(
    {
        "request_id",
        "server_request_id",
        "row",
        "received",
        "version",
        "release",
        "key",
        "event_time",
        "prediction",
        "champion",
    }
)
"""Columns that the prediction log and the holdout have in addition to the features."""


class SpecSection(BaseModel):
    """A strict section of the spec: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
