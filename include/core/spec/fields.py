"""Types of single fields, and the base of all sections of the spec."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def without_secret(address: str) -> str:
    """The address, if it holds no password; raises ValueError otherwise.

    Everybody who may look at a model can read its specification: in Airflow, in MLflow and in each version's artifact.
    Over HTTP a user name alone may be a token.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\s]*)@", address)
    if match and (":" in match[2] or match[1].lower() in ("http", "https")):
        raise ValueError(
            "holds a user name or password, which everybody could read who may look at this model. Remove it; "
            "credentials belong in an Airflow connection (for package indexes, in uv's environment variables)"
        )
    return address


Address = Annotated[str, AfterValidator(without_secret)]
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
