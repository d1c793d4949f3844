"""A run's parameters in Airflow, for operators and for templates."""

from __future__ import annotations

from typing import Any

from include.core.choices import SEPARATOR
from include.core.run_params import Params, read_params


def params_of(context: Any, kind: type[Params]) -> Params:
    """The parameters of the task's run. The first task of each Dag calls this and so refuses unknown parameters."""
    return read_params(kind, context.get("params") or {})


def text_param(name: str) -> str:
    """Template of a text parameter, normalized as by :func:`read_params`: null becomes empty, spaces are stripped."""
    return f"{{{{ (params.{name} or '') | trim }}}}"


def suggested_param(name: str) -> str:
    """Template of a text parameter for which the form has suggestions: the value without the suggestion's notes."""
    return f"{{{{ (params.{name} or '').partition('{SEPARATOR}')[0] | trim }}}}"
