"""Reads files that a commit or a job wrote, whatever they contain: bounded, and with one kind of error."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from include.core.json_types import JsonObject

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_JSON_BYTES = 16 * 2**20
MAX_YAML_BYTES = 256 * 1024
MAX_YAML_DEPTH = 32
MAX_YAML_ALIASES = 10
"""Each alias repeats what it names, also inside of what another one names: ten of them make at most 36 of one."""
MAX_YAML_WORD = 1_000
"""Characters without a space, not in quotes: a number with more digits takes long to be shown."""


class UntrustedFileError(ValueError):
    """The file is not what it should be; the message says how, as the end of a sentence that begins with its name."""


def open_regular(path: Path) -> int:
    """A descriptor for reading a regular file; links are not followed, and named pipes are not waited for.

    Raises OSError if it can't be opened, UntrustedFileError if it is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise UntrustedFileError("is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UntrustedFileError("is not a regular file")
    return descriptor


def read_text(path: Path, largest_bytes: int) -> str:
    """The text of a regular file.

    Raises OSError if it can't be opened, UntrustedFileError if it is not a file, is larger, or is not UTF-8.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        content = file.read(largest_bytes + 1)
    if len(content) > largest_bytes:
        raise UntrustedFileError(f"has more than {largest_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UntrustedFileError(f"is not UTF-8 text ({error})") from error


def read_json_object(path: Path, largest_bytes: int = MAX_JSON_BYTES) -> JsonObject:
    """The content of a file with one JSON object; errors as of :func:`read_text`."""
    try:
        values = json.loads(read_text(path, largest_bytes))
    except UntrustedFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise UntrustedFileError(f"is not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise UntrustedFileError("is not a JSON object")
    return values


def check_yaml(text: str) -> None:
    """Refuse YAML that takes much more memory, time or stack to load than its length suggests.

    Raises UntrustedFileError for more than MAX_YAML_DEPTH levels or MAX_YAML_ALIASES aliases, for an alias inside of
    what it names, and for words of more than MAX_YAML_WORD characters; yaml.YAMLError if it is not valid YAML.
    """
    open_anchors: list[str | None] = []
    aliases = 0
    for event in yaml.parse(text, Loader=Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_anchors.append(event.anchor)
            if len(open_anchors) > MAX_YAML_DEPTH:
                raise UntrustedFileError(f"has more than {MAX_YAML_DEPTH} levels (line {line})")
        elif isinstance(event, yaml.CollectionEndEvent):
            open_anchors.pop()
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases > MAX_YAML_ALIASES:
                raise UntrustedFileError(f"has more than {MAX_YAML_ALIASES} aliases (line {line})")
            if event.anchor in open_anchors:
                raise UntrustedFileError(f"has an alias of something that contains it (line {line})")
        elif isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _longest_word(event.value) > MAX_YAML_WORD:
            raise UntrustedFileError(f"has a word of more than {MAX_YAML_WORD} characters (line {line})")


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of a YAML document, None if it is empty; errors as of :func:`check_yaml`."""
    check_yaml(text)
    return yaml.compose(text, Loader=Loader)


def construct_yaml(root: yaml.Node | None) -> Any:
    """The values of nodes, whose merge keys (``<<``) are replaced by what they name.

    Raises UntrustedFileError for a value that can't be read, and yaml.YAMLError.
    """
    try:
        return None if root is None else yaml.constructor.SafeConstructor().construct_document(root)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # PyYAML's own, of odd dates and numbers
        raise UntrustedFileError(f"has a value that can't be read ({error})") from None
