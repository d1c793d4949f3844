"""Files of a commit or a job: whatever they contain, they are read within bounds, or refused in one way."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from include.adapters.untrusted_files import (
    MAX_YAML_BYTES,
    UntrustedFileError,
    compose_yaml,
    construct_yaml,
    read_json_object,
    read_text,
)

LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 40))]
)
BOMBS = {
    "aliases of aliases": LAUGHS,
    "an alias of itself": "a: &a [*a]",
    "an alias of what contains it": "a: &a {b: {c: [*a]}}",
    "merged again and again": "a: &a {x: 1}\n" + "\n".join(f"b{n}: {{<<: *a}}" for n in range(20)),
    "many lists": "x: " + "[" * 100_000,
    "many maps": "{x: " * 50_000,
    "many keys": "? " * 100_000,
    "many dashes": "- " * 100_000,
    "a long number": "x: " + "9" * 200_000,
    "a long hexadecimal number": "x: 0x" + "f" * 200_000,
    "a number to the base of 60": "x: 1" + ":1" * 100_000,
    "a date that is none": "x: 2013-13-99",
    "a time that is none": "x: !!timestamp noon",
    "an object": "!!python/object/apply:os.system ['true']",
    "a control character": "x: \x07",
}


def load(text: str) -> Any:
    return construct_yaml(compose_yaml(text))


@pytest.mark.parametrize("bomb", BOMBS)
def test_yaml_that_would_take_all_memory_or_stack_is_refused_at_once(bomb: str) -> None:
    assert len(BOMBS[bomb]) < MAX_YAML_BYTES
    started = time.process_time()
    with pytest.raises((UntrustedFileError, yaml.YAMLError)):
        load(BOMBS[bomb])
    assert time.process_time() - started < 10, "seconds of processor time; the aliases would take years"


def test_ordinary_aliases_and_levels_are_read() -> None:
    text = "base: &base {type: number}\nfeatures:\n- {<<: *base, name: a}\n- {<<: *base, name: b}\n"
    assert load(text)["features"] == [{"type": "number", "name": "a"}, {"type": "number", "name": "b"}]


@given(st.text(alphabet="[]{}:,-?&*!|>#'\"%@ \n\tab01.~", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UntrustedFileError, yaml.YAMLError):
        load(text)


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder", "nothing"):
        with pytest.raises((UntrustedFileError, OSError)):
            read_json_object(tmp_path / name)
    with pytest.raises((UntrustedFileError, OSError)):
        read_text(Path("/dev/zero"), 10)


def test_text_is_bounded_and_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbf12345")
    assert read_text(file, 8) == "12345", "without the byte order mark that Windows writes"
    with pytest.raises(UntrustedFileError, match="has more than 7 bytes"):
        read_text(file, 7)
    file.write_bytes(b"\xff")
    with pytest.raises(UntrustedFileError, match="is not UTF-8 text"):
        read_text(file, 8)


@pytest.mark.parametrize("content", ["", "[1]", "7", "null", '"x"', "{", "[" * 100_000, '{"a": ' * 100_000, "{'a': 1}"])
def test_json_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(UntrustedFileError):
        read_json_object(tmp_path / "file")
