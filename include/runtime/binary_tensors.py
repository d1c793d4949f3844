"""The binary tensor extension of the Open Inference Protocol: the data of inputs as bytes after the request's JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    "BOOL": "?",
}


class BinaryDataError(Exception):
    """The bytes after the JSON are not what the JSON says; the message says why."""


class BinaryTensors:
    """The bytes after a request's JSON, taken one input after the other."""

    def __init__(self, content: bytes):
        self._content, self._position = content, 0

    def take(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """The input with its binary ``data`` as a list; unchanged if it has none.

        NaN and empty text are missing values, since binary data has no null.

        Raises BinaryDataError.
        """
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            return entry
        name, datatype = entry["name"], str(entry.get("datatype"))
        end = self._position + size if type(size) is int and size >= 0 else -1  # true is an int as well
        if not self._position <= end <= len(self._content):
            raise BinaryDataError(f"input '{name}' has binary_data_size {size!r}; the body does not have these bytes")
        data, self._position = self._content[self._position : end], end
        try:
            values = _texts(data) if datatype == "BYTES" else _numbers(data, datatype)
        except (ValueError, struct.error, KeyError) as error:
            raise BinaryDataError(f"input '{name}' has binary data that is not {datatype}: {error}") from None
        return {**entry, "data": values}

    def require_end(self) -> None:
        """Raise BinaryDataError if bytes are left."""
        if left := len(self._content) - self._position:
            raise BinaryDataError(f"{left} bytes after the JSON belong to no input; see binary_data_size")


def _numbers(data: bytes, datatype: str) -> list[Any]:
    values = np.frombuffer(data, dtype=DTYPES[datatype])
    return [None if value != value else value for value in values.tolist()]


def _texts(data: bytes) -> list[str | None]:
    values: list[str | None] = []
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if position + length > len(data):
            raise ValueError("the last value is cut off")
        values.append(data[position : position + length].decode("utf-8") or None)
        position += length
    return values
