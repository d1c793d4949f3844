"""A run's parameters in Airflow: read by operators, and passed on in templates."""

from __future__ import annotations

from typing import Any

from include.core.run_params import Params, read_params


def params_of(context: Any, kind: type[Params]) -> Params:
    """The parameters of the task's run; the first task of each Dag refuses here what the Dag doesn't know."""
    return read_params(kind, context.get("params") or {})


def text_param(name: str) -> str:
    """Template of a parameter that is text, as :func:`read_params` reads it: null is empty, no surrounding spaces."""
    return f"{{{{ (params.{name} or '') | trim }}}}"
