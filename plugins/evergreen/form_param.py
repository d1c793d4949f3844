"""A field of a trigger form."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import lru_cache
from typing import Any

from airflow.sdk import Param
from airflow.sdk.definitions._internal.types import NOTSET, is_arg_set
from airflow.sdk.exceptions import ParamValidationError


class FormParam(Param):
    """Airflow's ``Param``, whose default is validated once and not again whenever somebody looks at it.

    Airflow 3.3.2 validates a default, and its schema, again for each task of the Dag, twice. That took more than half
    of the time that the Dag processor needs for a file (``python -m benchmarks.parse_time``). Values that a person
    gives are always validated.
    """

    # Airflow serializes parameters only if their class has this very name.
    __module__ = Param.__module__

    def __deepcopy__(self, memo: dict[int, Any] | None) -> FormParam:
        """A copy with the same schema: each task of a Dag gets a copy of each field, and nothing changes a schema."""
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self), value=deepcopy(self.value, memo))
        return copied

    def resolve(self, value: Any = NOTSET, suppress_exception: bool = False) -> Any:
        """The value, or the default; raises ParamValidationError if that is invalid."""
        if value is NOTSET and is_arg_set(self.value) and _is_valid(json.dumps([self.schema, self.value])):
            return self.value
        return super().resolve(value, suppress_exception)


FormParam.__name__ = Param.__name__


@lru_cache(maxsize=4096)
def _is_valid(schema_and_default: str) -> bool:
    schema, default = json.loads(schema_and_default)
    try:
        Param(default, schema=schema).resolve()
    except ParamValidationError:
        return False
    return True
