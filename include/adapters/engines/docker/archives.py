"""Files into containers and images, and out of containers again, as tar archives.

What goes in is the same for the same files: sorted, without times, owners or the machine's modes. What comes out was
written by code that is not trusted: only the regular files of one folder are taken.
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
"""The numeric user that everything of a model runs as in its container; its group has the same number."""
MOST_ENTRIES = 100_000
"""Files, folders and links that a job may leave."""


def archive(files: Mapping[str, Path | bytes], folders: Iterable[str] = (), *, into: IO[bytes], owner: int = 0) -> None:
    """Write files and whole folders, by their place in the archive, as a tar file.

    What belongs to ``owner`` can be changed by it; everybody else may only read. ``folders`` are made beside them,
    empty, for USER to write to.
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
    """The same, in memory: for what is small."""
    buffer = io.BytesIO()
    archive(files, folders, into=buffer, owner=owner)
    return buffer.getvalue()


def take_out(chunks: Iterable[bytes], folder: Path, *, largest_bytes: int) -> None:
    """Put the regular files of an archived folder into ``folder``; its folders, links and devices are left out.

    Raises TrainingError when the archive has more than ``largest_bytes`` or MOST_ENTRIES in all.
    """
    total = entries = 0
    with tarfile.open(fileobj=cast(Any, _Reader(iter(chunks))), mode="r|") as tar:
        for member in tar:
            total, entries = total + member.size, entries + 1
            if total > largest_bytes or entries > MOST_ENTRIES:
                raise TrainingError(
                    f"the job left more than {largest_bytes // 2**20} MiB or {MOST_ENTRIES} files. Write less there."
                )
            name = _name(member)
            content = tar.extractfile(member) if name and member.isreg() else None
            if name and content:
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def take_new(chunks: Iterable[bytes], folder: Path) -> None:
    """Append to the files in ``folder`` what files of the same names in the archive have more."""
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
    """The name of what lies in the archived folder itself, which is the first part; empty for everything else."""
    path = PurePosixPath(member.name)
    return path.name if len(path.parts) == 2 and not path.is_absolute() and ".." not in path.parts else ""


class _Reader:
    """Chunks of bytes as the file that tarfile reads from."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks, self._chunk, self._at = chunks, b"", 0

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            if self._at >= len(self._chunk):
                self._chunk, self._at = next(self._chunks, b""), 0
                if not self._chunk:
                    break
            part = self._chunk[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)
