"""Open Inference Protocol v2 requests: named columns in, one clear message for any error in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from .binary_tensors import BinaryDataError, BinaryTensors
from .categories import label, truth
from .config import Model
from .event_times import EventTimeError, EventTimes
from .predictions import Columns

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

DEFAULT_TIMES = EventTimes()
JSON = msgspec.json.Decoder()
LARGEST = 1.7e308
"""The largest number that is accepted."""
SHORT = 16
"""The values of a shorter column are checked one by one, which takes less time than setting up arrays."""


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
    converted: tuple[str, ...] = ()
    """Optional features that were sent as another type."""
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    """Numeric features that were already read as float64, with NaN for missing values."""
    missing: dict[str, int] = field(default_factory=dict)
    """How many values each feature lacks; nothing for features that lack none."""

    @property
    def columns(self) -> Columns:
        """The features for a model to predict."""
        return {**self.features, **self.numbers}


@dataclass(frozen=True)
class Column:
    """The valid values of an input."""

    values: list[Any]
    numbers: np.ndarray | None = None
    missing: int = 0


def parse(
    body: bytes,
    model: Model,
    *,
    logged: bool,
    max_rows: int,
    request_id: str,
    optional: Callable[[], Collection[str]] = frozenset,
    json_length: int | None = None,
    times: EventTimes = DEFAULT_TIMES,
) -> Inference:
    """Parse and validate a request's body; ``request_id`` is used when the client sent none.

    ``logged``: key and event time are required, since each prediction is logged. ``optional``: inputs that are optional
    for now; only called if the request's inputs are not just those of the model. ``json_length``: where the JSON ends
    and binary data begins. ``times``: the event timestamps that are accepted. Raises BadRequestError.
    """
    content = _json(body[:json_length])
    columns = _columns(content, BinaryTensors(b"" if json_length is None else body[json_length:]))
    _check_outputs(content.get("outputs"))
    types = {feature["name"]: feature["type"] for feature in model["features"]}
    special = {name: "category" for name in (model["key"], model["event_time"]) if name not in types}
    changes = _changes(columns, types, [*types, *(special if logged else ())], special)
    if any(changes):
        changes = _require_optional(changes, set(optional()) - set(special), types)
    absent, ignored, retyped = changes
    read: dict[str, Column] = {}
    for name, entry in columns.items():
        if name in types and name in retyped:
            read[name] = _converted(entry, types[name])
        elif name not in ignored:
            read[name] = _column(entry, {**special, **types}[name], name in special)
    values = {name: column.values for name, column in read.items()}
    rows = _rows(values, max_rows)
    sent = values.get(model["event_time"])
    features = {name: read[name] if name in read else Column([None] * rows, missing=rows) for name in types}
    return Inference(
        request_id=_identity(content, request_id),
        rows=rows,
        features={name: column.values for name, column in features.items()},
        keys=values.get(model["key"]),
        event_times=None if sent is None else _times(model["event_time"], sent, times),
        ignored=ignored,
        absent=absent,
        converted=retyped,
        numbers={name: column.numbers for name, column in features.items() if column.numbers is not None},
        missing={name: column.missing for name, column in features.items() if column.missing},
    )


Changes = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""The names of inputs that are absent, that the model does not know, and that have another datatype than it takes."""


def _columns(content: Mapping[str, object], binary: BinaryTensors) -> dict[str, Mapping[str, object]]:
    """The inputs by name."""
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequestError("'inputs' must be a list of named columns")
    columns: dict[str, Mapping[str, object]] = {}
    try:
        for entry in inputs:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise BadRequestError("each of 'inputs' needs a 'name', 'shape', 'datatype' and 'data'")
            if entry["name"] in columns:
                raise BadRequestError(f"input '{entry['name']}' is given twice")
            columns[entry["name"]] = binary.take(entry)
        binary.require_end()
    except BinaryDataError as error:
        raise BadRequestError(str(error)) from None
    return columns


def _changes(
    columns: Mapping[str, Mapping[str, object]],
    types: Mapping[str, str],
    required: Collection[str],
    special: Collection[str],
) -> Changes:
    """How the request's inputs differ from the model's."""
    absent = tuple(name for name in required if name not in columns)
    unknown = tuple(sorted(set(columns) - set(types) - set(special)))
    datatypes = {name: columns[name].get("datatype") for name in types if name in columns}
    known = TEXT | NUMBERS | BOOLEANS
    retyped = [name for name, datatype in datatypes.items() if isinstance(datatype, str) and datatype in known]
    return absent, unknown, tuple(name for name in retyped if datatypes[name] not in ACCEPTED[types[name]])


def _require_optional(changes: Changes, optional: Collection[str], types: Collection[str]) -> Changes:
    """The changes that are allowed; BadRequestError for absent and unknown inputs that are not optional."""
    absent, unknown, retyped = changes
    if missing := [name for name in absent if name not in optional]:
        raise BadRequestError(f"missing input(s): {', '.join(missing)}")
    if extra := [name for name in unknown if name not in optional]:
        raise BadRequestError(f"unknown input(s): {', '.join(extra)}; the model takes {', '.join(types)}")
    return absent, unknown, tuple(name for name in retyped if name in optional)


def _rows(values: Mapping[str, Collection[Any]], max_rows: int) -> int:
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) != 1:
        raise BadRequestError(
            f"inputs differ in length: {', '.join(f'{name} {length}' for name, length in lengths.items())}"
            if lengths
            else "no input that the model knows, so no rows"
        )
    rows = next(iter(lengths.values()))
    if not 1 <= rows <= max_rows:
        raise BadRequestError(f"{rows} rows; a request may have 1 to {max_rows}")
    return rows


def _converted(entry: Mapping[str, object], kind: str) -> Column:
    """An optional input's values, sent as another type than the model's."""
    sent = "category" if entry["datatype"] in TEXT else "boolean" if entry["datatype"] in BOOLEANS else "number"
    name, column = entry["name"], _column(entry, sent, False)
    try:
        if kind == "category":
            labels = [None if value is None else label(value) for value in column.values]
            return Column(labels, missing=column.missing)
        if kind == "boolean":
            truths = [None if value is None else bool(truth(label(value))) for value in column.values]
            return Column(truths, missing=column.missing)
        numbers = [None if value in (None, "") else float(value) for value in column.values]
    except ValueError as error:
        raise BadRequestError(f"input '{name}' is {entry['datatype']}; the model takes {kind}: {error}") from None
    return _column({**entry, "datatype": "FP64", "data": numbers}, kind, False)


def _json(body: bytes) -> dict[str, object]:
    try:
        content = JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = _json_or_why(body)
    if not isinstance(content, dict):
        raise BadRequestError("the body must be a JSON object")
    return content


def _json_or_why(body: bytes) -> object:
    """The content of a body that the fast decoder refused; BadRequestError says why it is not JSON."""

    def refuse(constant: str) -> Any:
        raise BadRequestError(f"{constant} is not allowed; send null for a missing value")

    try:
        text = body.decode("utf-8")
        content = json.loads(text, parse_constant=refuse)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a surrogate pair can't be stored
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
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


def _column(entry: Mapping[str, object], kind: str, special: bool) -> Column:
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
    column = _plain_column(data, datatype, kind, special) if len(data) >= SHORT else None
    if column is not None:
        return column
    for position, value in enumerate(data):
        problem = _problem(value, datatype, kind)
        if problem is None and special and (value is None or value == ""):
            problem = "is missing"
        if problem:
            raise BadRequestError(f"input '{name}', row {position}: {problem}")
    return Column(data, missing=data.count(None))


def _plain_column(data: list[Any], datatype: str, kind: str, special: bool) -> Column | None:
    """A long column that certainly has no problem: its types and values are checked all at once; else None."""
    types = set(map(type, data))
    missing = data.count(None) if type(None) in types else 0
    if special and (missing or "" in data):
        return None
    types.discard(type(None))
    if datatype in TEXT or datatype in BOOLEANS:
        return Column(data, missing=missing) if types <= {str if datatype in TEXT else bool} else None
    if not types <= {int, float}:
        return None
    try:
        numbers = np.array(data, dtype=float)
    except OverflowError:
        return None
    integers = kind == "integer" or datatype.startswith(("INT", "UINT"))
    if not _all_valid(numbers[~np.isnan(numbers)] if missing else numbers, integers, kind == "boolean"):
        return None
    return Column(data, None if kind == "boolean" else numbers, missing)


def _all_valid(values: np.ndarray, integers: bool, booleans: bool) -> bool:
    return bool(
        not values.size
        or (
            -LARGEST <= values.min() <= values.max() <= LARGEST
            and not (integers and (values != np.floor(values)).any())
            and not (booleans and ((values != 0) & (values != 1)).any())
        )
    )


def _problem(value: Any, datatype: str, kind: str) -> str | None:
    if value is None:
        return None
    if datatype in TEXT:
        return None if isinstance(value, str) else f"{value!r} is not text"
    if datatype in BOOLEANS:
        return None if isinstance(value, bool) else f"{value!r} is not true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value!r} is not a number"
    if abs(value) > LARGEST or not math.isfinite(value):
        return f"{value!r} is not finite"
    if (datatype.startswith(("INT", "UINT")) or kind == "integer") and value != int(value):
        return f"{value!r} is not an integer"
    if kind == "boolean" and value not in (0, 1):
        return f"{value!r} is not 0 or 1"
    return None


def _times(name: str, values: list[Any], accepted: EventTimes) -> list[str]:
    texts = [*map(str, values)]
    try:
        read = accepted.read(dict.fromkeys(texts))
    except EventTimeError as error:
        raise BadRequestError(f"input '{name}': {error}") from None
    return [*map(read.__getitem__, texts)]
