"""What a commit's requirements may say: packages with versions, and only package indexes that model.yaml allows.

uv also takes options and addresses from a requirements file, and asks whatever they name from the platform's machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from include.adapters.untrusted_files import UntrustedFileError, read_text
from include.core.errors import BuildError

MAX_BYTES = 16 * 2**20
INDEX = re.compile(r"(?:-i|--index-url|--extra-index-url|-f|--find-links)[\s=]+(\S+)")
COMMENT = re.compile(r"(^|\s)#.*")
HASHES = re.compile(r"(\s+--hash[\s=]+[a-z0-9]+:[0-9a-fA-F]+)+\s*$")
REMEDY = "Add the address to repository.package_indexes in model.yaml, or remove the line."


def check_requirements(model: str, file: Path, indexes: Sequence[str]) -> None:
    """Raise BuildError unless each line is a package, or names one of ``indexes`` (addresses; see model.yaml)."""
    try:
        text = read_text(file.resolve(), MAX_BYTES)
    except (OSError, UntrustedFileError) as error:
        raise BuildError(f"{model}: {file.name} can't be read: it {error}. Write one package a line.") from None
    for number, line in _logical_lines(text):
        problem = _problem(line, indexes)
        if problem:
            raise BuildError(f"{model}: {file.name}:{number}: '{line[:100]}' {problem}")


def _problem(line: str, indexes: Sequence[str]) -> str | None:
    index = INDEX.fullmatch(line)
    if index:
        return None if _is_allowed(index[1], indexes) else f"names a package index that is not allowed. {REMEDY}"
    if line.startswith("-"):
        return "is an option that is not allowed. Write one package a line, and no options but hashes."
    try:
        requirement = Requirement(HASHES.sub("", line))
    except InvalidRequirement:
        return "is not a package. Write its name and version, such as pandas==3.1.1."
    if requirement.url and not _is_allowed(requirement.url, indexes):
        return f"takes a package from an address that is not allowed. {REMEDY}"
    return None


def _is_allowed(address: str, indexes: Sequence[str]) -> bool:
    """Whether an address is one of the indexes or below one; never one with a variable, a parent or a user in it."""
    if re.search(r"\$|\.\.|%2e|\\|@", address, re.IGNORECASE):
        return False
    return any(f"{address.rstrip('/')}/".startswith(f"{index.rstrip('/')}/") for index in indexes)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments, continued ones joined, each with the number of its first line."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first or number
        content = COMMENT.sub("", line)
        if content.rstrip().endswith("\\"):
            joined += content.rstrip()[:-1] + " "
            continue
        whole = (joined + content).strip()
        if whole:
            yield first, whole
        joined, first = "", 0
    if joined.strip():
        yield first, joined.strip()
