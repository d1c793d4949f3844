"""Open Inference Protocol v2 requests: named columns in, one clear message for any error in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .config import Model

TEXT, NUMBERS, BOOLEANS = (
    {"BYTES"},
    {f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)} | {"FP16", "FP32", "FP64"},
    {"BOOL"},
)
ACCEPTED = {
    "integer": NUMBERS,
    "number": NUMBERS,
    "boolean": BOOLEANS | NUMBERS,
    "category": TEXT,
}


class BadRequestError(Exception):
    """The request is not valid; the message says what to change."""


@dataclass(frozen=True)
class Inference:
    """A valid request: feature columns of equal length, and the keys and event times of its rows."""

    request_id: str
    rows: int
    features: dict[str, list[Any]]
    keys: list[str] | None
    event_times: list[str] | None
    ignored: tuple[str, ...] = ()
    """Optional inputs that the model does not know."""
    absent: tuple[str, ...] = ()
    """Optional features that the request does not have; all their values are missing."""


def parse(
    body: bytes,
    model: Model,
    *,
    logged: bool,
    max_rows: int,
    request_id: str,
    optional: Callable[[], Collection[str]] = frozenset,
) -> Inference:
    """Parse and validate a request's body; ``request_id`` is used when the client sent none.

    ``logged``: key and event time are required, since each prediction is logged. ``optional``: inputs that are optional
    for now; only called if the request lacks inputs or has unknown ones. Raises BadRequestError.
    """
    content = _json(body)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequestError("'inputs' must be a list of named columns")
    _check_outputs(content.get("outputs"))
    columns: dict[str, Mapping[str, object]] = {}
    for entry in inputs:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BadRequestError("each of 'inputs' needs a 'name', 'shape', 'datatype' and 'data'")
        if entry["name"] in columns:
            raise BadRequestError(f"input '{entry['name']}' is given twice")
        columns[entry["name"]] = entry
    types = {feature["name"]: feature["type"] for feature in model["features"]}
    special = {name: "category" for name in (model["key"], model["event_time"]) if name not in types}
    required = [*types, *(special if logged else ())]
    absent = tuple(name for name in required if name not in columns)
    ignored = tuple(sorted(set(columns) - set(types) - set(special)))
    if absent or ignored:
        _require_optional(absent, ignored, set(optional()) - set(special), types)
    if len(ignored) == len(columns):
        raise BadRequestError(f"missing input(s): {', '.join(absent)}")
    for name in ignored:
        del columns[name]
    values = {name: _column(entry, {**special, **types}[name], name in special) for name, entry in columns.items()}
    lengths = {name: len(column) for name, column in values.items()}
    rows = next(iter(lengths.values()))
    if len(set(lengths.values())) != 1:
        raise BadRequestError(
            f"inputs differ in length: {', '.join(f'{name} {length}' for name, length in lengths.items())}"
        )
    if not 1 <= rows <= max_rows:
        raise BadRequestError(f"{rows} rows; a request may have 1 to {max_rows}")
    times = values.get(model["event_time"])
    return Inference(
        request_id=_identity(content, request_id),
        rows=rows,
        features={name: values[name] if name in values else [None] * rows for name in types},
        keys=values.get(model["key"]),
        event_times=None if times is None else [_time(model["event_time"], str(time)) for time in times],
        ignored=ignored,
        absent=absent,
    )


def _require_optional(
    absent: Collection[str], ignored: Collection[str], optional: Collection[str], taken: Collection[str]
) -> None:
    if missing := [name for name in absent if name not in optional]:
        raise BadRequestError(f"missing input(s): {', '.join(missing)}")
    if unknown := [name for name in ignored if name not in optional]:
        raise BadRequestError(f"unknown input(s): {', '.join(unknown)}; the model takes {', '.join(taken)}")


def _json(body: bytes) -> dict[str, object]:
    def refuse(constant: str) -> Any:
        raise BadRequestError(f"{constant} is not allowed; send null for a missing value")

    try:
        text = body.decode("utf-8")
        content = json.loads(text, parse_constant=refuse)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a surrogate pair can't be stored
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadRequestError("the body must be a JSON object")
    return content


def _check_outputs(outputs: object) -> None:
    """The outputs that the client asks for: all of them (absent, null or empty), or ``prediction``."""
    if outputs is None:
        return
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise BadRequestError("'outputs' must be a list of objects with a 'name'")
    unknown = sorted({str(each.get("name")) for each in outputs} - {"prediction"})
    if unknown:
        raise BadRequestError(f"unknown output(s): {', '.join(unknown)}; the model has 'prediction'")


def _identity(content: Mapping[str, object], generated: str) -> str:
    request_id = content.get("id")
    if request_id is None:  # as absent: some clients send null
        return generated
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= 200:
        raise BadRequestError("'id' must be a string of 1 to 200 characters")
    return request_id


def _column(entry: Mapping[str, object], kind: str, special: bool) -> list[Any]:
    name, datatype, data, shape = entry["name"], entry.get("datatype"), entry.get("data"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in ACCEPTED[kind]:
        raise BadRequestError(
            f"input '{name}' has datatype {datatype!r}; expected one of {', '.join(sorted(ACCEPTED[kind]))} ({kind})"
        )
    if not isinstance(data, list):
        raise BadRequestError(f"input '{name}' needs a list as 'data'")
    if not isinstance(shape, list) or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise BadRequestError(f"input '{name}' has shape {shape}; expected [n] or [n, 1]")
    if shape[0] != len(data):
        raise BadRequestError(f"input '{name}' has shape {shape} but {len(data)} values")
    for position, value in enumerate(data):
        problem = _problem(value, datatype, kind)
        if problem is None and special and (value is None or value == ""):
            problem = "is missing"
        if problem:
            raise BadRequestError(f"input '{name}', row {position}: {problem}")
    return data


def _problem(value: Any, datatype: str, kind: str) -> str | None:
    if value is None:
        return None
    if datatype in TEXT:
        return None if isinstance(value, str) else f"{value!r} is not text"
    if datatype in BOOLEANS:
        return None if isinstance(value, bool) else f"{value!r} is not true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value!r} is not a number"
    if abs(value) > 1.7e308 or not math.isfinite(value):
        return f"{value!r} is not finite"
    if (datatype.startswith(("INT", "UINT")) or kind == "integer") and value != int(value):
        return f"{value!r} is not an integer"
    if kind == "boolean" and value not in (0, 1):
        return f"{value!r} is not 0 or 1"
    return None


def _time(name: str, text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
        time.utctimetuple()  # OverflowError for the first and last day that datetime supports, if UTC is beyond it
    except (ValueError, OverflowError):
        raise BadRequestError(f"input '{name}': {text!r} is not a time; write it like 2013-05-17T08:30:00") from None
    return time.isoformat()
