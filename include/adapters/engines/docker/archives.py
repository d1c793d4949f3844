"""Copies files into containers and images, and out of containers, as tar archives.

Archives are reproducible: sorted, without times, owners or the machine's modes. Files that come out of a container were
written by untrusted code, so only the regular files of one folder are copied.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from include.core.errors import TrainingError

USER = 10001
"""The numeric user as which all of a model's code runs in its container; its group has the same number."""
MAX_ENTRIES = 100_000
"""Maximum number of files, folders and links in a job's output."""


def archive(files: Mapping[str, Path | bytes], folders: Iterable[str] = (), *, into: IO[bytes], owner: int = 0) -> None:
    """Write files and whole folders, keyed by their path in the archive, as a tar file.

    Only ``owner`` may change the files; everyone else may only read them. ``folders`` are also created, empty and
    writable by USER.
    """
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()
        for place in sorted(folders):
            _make_parents(tar, place, made)
            _add_folder(tar, place, made, USER)
        for place, source in sorted(files.items()):
            _make_parents(tar, place, made)
            if isinstance(source, bytes):
                _add_file(tar, place, io.BytesIO(source), len(source), 0o600 if owner else 0o644, owner)
            else:
                _add(tar, place, source, made, owner)


def archived(files: Mapping[str, Path | bytes], folders: Iterable[str] = (), owner: int = 0) -> bytes:
    """The same, in memory, for small archives."""
    buffer = io.BytesIO()
    archive(files, folders, into=buffer, owner=owner)
    return buffer.getvalue()


def take_out(chunks: Iterable[bytes], folder: Path, *, largest_bytes: int) -> None:
    """Extract the regular files of an archived folder into ``folder``; folders, links and devices are ignored.

    Raises TrainingError when the archive has more than ``largest_bytes`` or MAX_ENTRIES in all.
    """
    total = entries = 0
    with tarfile.open(fileobj=cast(Any, _Reader(iter(chunks))), mode="r|") as tar:
        for member in tar:
            total, entries = total + member.size, entries + 1
            if total > largest_bytes or entries > MAX_ENTRIES:
                raise TrainingError(
                    f"the job left more than {largest_bytes // 2**20} MiB or {MAX_ENTRIES} files. Write less."
                )
            name = _name(member)
            content = tar.extractfile(member) if name and member.isreg() else None
            if name and content:
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def take_new(chunks: Iterable[bytes], folder: Path) -> None:
    """Append to the files in ``folder`` what files with the same names in the archive have in addition."""
    with tarfile.open(fileobj=cast(Any, _Reader(iter(chunks))), mode="r|") as tar:
        for member in tar:
            path = folder / PurePosixPath(member.name).name
            known = path.stat().st_size if path.is_file() else 0
            if not member.isreg() or path.suffix != ".jsonl" or member.size <= known:
                continue
            content = tar.extractfile(member)
            assert content is not None
            with path.open("ab") as file:
                while known > 0:  # a stream can't seek
                    known -= len(content.read(min(known, 2**20)))
                shutil.copyfileobj(content, file)


def _add(tar: tarfile.TarFile, place: str, source: Path, made: set[str], owner: int) -> None:
    if source.is_symlink():
        entry = tarfile.TarInfo(place)
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(source)
        tar.addfile(entry)
    elif source.is_dir():
        _add_folder(tar, place, made, owner)
        for child in sorted(source.iterdir()):
            if child.name != "__pycache__":
                _add(tar, f"{place}/{child.name}", child, made, owner)
    else:
        mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
        with source.open("rb") as file:
            _add_file(tar, place, file, os.fstat(file.fileno()).st_size, mode, owner)


def _add_file(tar: tarfile.TarFile, place: str, file: IO[bytes], size: int, mode: int, owner: int) -> None:
    entry = tarfile.TarInfo(place)
    entry.size, entry.mode, entry.uid, entry.gid = size, mode, owner, owner
    tar.addfile(entry, file)


def _add_folder(tar: tarfile.TarFile, place: str, made: set[str], owner: int) -> None:
    if place not in made:
        entry = tarfile.TarInfo(place)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, owner, owner
        tar.addfile(entry)
        made.add(place)


def _make_parents(tar: tarfile.TarFile, place: str, made: set[str]) -> None:
    for parent in reversed(PurePosixPath(place).parents):
        if str(parent) not in (".", "/"):
            _add_folder(tar, str(parent), made, 0)


def _name(member: tarfile.TarInfo) -> str:
    """The name of a direct child of the archived folder; empty for everything else."""
    path = PurePosixPath(member.name)
    return path.name if len(path.parts) == 2 and not path.is_absolute() and ".." not in path.parts else ""


class _Reader:
    """A file object over chunks of bytes, for tarfile."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks, self._chunk, self._at = chunks, b"", 0

    def read(self, size: int) -> bytes:
        pieces = []
        while size > 0:
            if self._at >= len(self._chunk):
                self._chunk, self._at = next(self._chunks, b""), 0
                if not self._chunk:
                    break
            piece = self._chunk[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)
