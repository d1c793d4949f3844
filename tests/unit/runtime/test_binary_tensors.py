"""Requests whose data comes as bytes after the JSON: the same as in JSON, and whatever is wrong is named."""

import contextlib
import json
import struct
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.runtime.binary_tensors import DTYPES
from include.runtime.config import Model
from include.runtime.inference import NUMBERS, BadRequestError, Inference, parse

FEATURES = [
    {"name": "distance", "type": "number"},
    {"name": "origin", "type": "category"},
    {"name": "night", "type": "boolean"},
]
MODEL = cast(Model, {"key": "id", "event_time": "at", "features": FEATURES})


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def sent(**columns: tuple[str, int, bytes]) -> tuple[bytes, int]:
    """A request of these inputs (datatype, rows, bytes), and the length of its JSON."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": len(data)}}
        for name, (datatype, rows, data) in columns.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    return head + b"".join(data for _, _, data in columns.values()), len(head)


GOOD = {
    "distance": ("FP32", 2, np.array([1.5, np.nan], dtype="<f4").tobytes()),
    "origin": ("BYTES", 2, texts("EWR", "Zürich")),
    "night": ("BOOL", 2, b"\x01\x00"),
}


def parsed(body: bytes, json_length: int | None) -> Inference:
    return parse(body, MODEL, logged=False, max_rows=3, request_id="generated", json_length=json_length)


def refusal(body: bytes, json_length: int | None) -> str:
    with pytest.raises(BadRequestError) as refused:
        parsed(body, json_length)
    return str(refused.value)


def test_binary_data_is_taken_and_nan_is_missing() -> None:
    features = parsed(*sent(**GOOD)).features
    assert features == {"distance": [1.5, None], "origin": ["EWR", "Zürich"], "night": [True, False]}


def test_empty_text_is_missing() -> None:
    """Binary data has no null."""
    assert parsed(*sent(**(GOOD | {"origin": ("BYTES", 2, texts("", "JFK"))}))).features["origin"] == [None, "JFK"]


def test_some_inputs_may_be_json() -> None:
    body, length = sent(origin=GOOD["origin"], night=GOOD["night"])
    content = json.loads(body[:length])
    content["inputs"].insert(1, {"name": "distance", "datatype": "FP64", "shape": [2], "data": [1, None]})
    head = json.dumps(content).encode()
    assert parsed(head + body[length:], len(head)).features["distance"] == [1, None]


@pytest.mark.parametrize("datatype", sorted(NUMBERS))
def test_every_number_type_is_read_with_its_size(datatype: str) -> None:
    data = np.array([7, 9], dtype=DTYPES[datatype]).tobytes()
    assert parsed(*sent(**(GOOD | {"distance": (datatype, 2, data)}))).features["distance"] == [7, 9]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"distance": ("FP32", 2, b"\0" * 7)}, "input 'distance' has binary data that is not FP32: "),
        ({"distance": ("FP32", 3, b"\0" * 8)}, "input 'distance' has shape [3] but 2 values"),
        ({"distance": ("BF16", 2, b"\0" * 4)}, "input 'distance' has binary data that is not BF16"),
        ({"distance": ("FP64", 2, np.array([1, np.inf]).tobytes())}, "input 'distance', row 1: inf is not finite"),
        ({"origin": ("BYTES", 2, texts("EWR") + b"\x09\0\0\0J")}, "is not BYTES: the last value is cut off"),
        ({"origin": ("BYTES", 2, texts("EWR") + b"\x09")}, "input 'origin' has binary data that is not BYTES"),
        ({"origin": ("BYTES", 1, b"\1\0\0\0\xff")}, "input 'origin' has binary data that is not BYTES"),
    ],
)
def test_wrong_binary_data_is_named(change: Any, named: str) -> None:
    assert named in refusal(*sent(**(GOOD | change)))


@pytest.mark.parametrize("size", [-1, 9, 10**12, "8", 8.0, True])
def test_a_size_that_the_body_does_not_have_is_named(size: Any) -> None:
    body, length = sent(distance=GOOD["distance"])
    head = body[:length].replace(b'"binary_data_size": 8', f'"binary_data_size": {json.dumps(size)}'.encode())
    assert "input 'distance'" in refusal(head + body[length:], len(head))


def test_bytes_that_belong_to_no_input_are_named() -> None:
    body, length = sent(**GOOD)
    assert refusal(body + b"more", length) == "4 bytes after the JSON belong to no input; see binary_data_size"


@given(st.binary(max_size=60), st.integers(0, 200))
def test_whatever_comes_is_parsed_or_refused(garbage: bytes, length: int) -> None:
    body, _ = sent(**GOOD)
    with contextlib.suppress(BadRequestError):
        parsed(body[:150] + garbage, length)
