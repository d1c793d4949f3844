"""The bodies of requests: their length, and what they are without their compression."""

from __future__ import annotations

import zlib


class TooLargeError(Exception):
    """A request's body exceeds the limit, as sent or decompressed."""


class UndecodableError(Exception):
    """A request's body can't be decompressed; the message says why."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def length_of_json(header: str | None) -> int | None:
    """The value of ``Inference-Header-Content-Length``; None without it. Raises UndecodableError."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) < 12):
        raise UndecodableError(400, f"the header Inference-Header-Content-Length is {header!r}; expected a number")
    return int(header)


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its ``Content-Encoding`` (gzip or deflate), of which never more than ``limit`` bytes are made.

    Raises TooLargeError and UndecodableError.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UndecodableError(415, f"Content-Encoding '{encoding}' is not supported; send gzip, deflate or plain JSON")
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out by itself whether it is gzip or zlib
    try:
        content = unpacked.decompress(body, limit + 1)
    except zlib.error as error:
        raise UndecodableError(400, f"the body is not {encoding}: {error}") from None
    if len(content) > limit:
        raise TooLargeError
    if not unpacked.eof:
        raise UndecodableError(400, f"the body is cut off: its {encoding} stream has no end")
    return content
