"""Hashes of a bundle's files, and the errors when a file is not the registered one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .jobs import ModelError


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """The content of a file, if it has this hash. Raises ModelError when it has another, or can't be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise hash_mismatch(path, actual, sha256)
    return content


def unreadable(path: Path, error: OSError) -> ModelError:
    """The error for a file that can't be read."""
    return ModelError(f"{path} can't be read ({error.strerror}). Deploy the version again.")


def hash_mismatch(path: Path, actual: str, expected: str) -> ModelError:
    """The error for a file with another hash than the registered one."""
    return ModelError(
        f"{path} has sha256 {actual}, expected {expected}. It was changed or damaged and is not loaded. "
        "Delete the folder to fetch it again, or deploy another version."
    )
