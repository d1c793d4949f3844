"""Backs the installation up while it runs, and restores it: ``make backup`` and ``make restore FILE=``.

An archive holds the databases (copied with SQLite's own backup), MLflow's artifacts, the secrets, builds with their
locks, repositories, reports, and the prediction log. Two things are in it by reference only, because they are large:
environments, which are installed again from their locks, and the lake, whose files are listed with their sizes.
``lake=True`` takes the lake too.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from include.adapters.engines.environments import Lock, build_environment
from include.core.errors import EvergreenError
from include.settings import Settings

FORMAT = 1
PASSPHRASE = "EVERGREEN_BACKUP_PASSPHRASE"
DATABASES = {"evergreen": "evergreen.db", "mlflow": "mlflow/mlflow.db", "airflow": "airflow/airflow.db"}
"""Part → its database. Releases name versions, so the releases are copied before the versions."""
FOLDERS = ("mlflow/artifacts", "builds", "repositories", "reports", "prediction_log")
LOCK = "requirements.lock"
ABOUT, SECRETS, SEALED = "backup.json", "secrets", "secrets.sealed"
SALT_BYTES = 16
TEMPORARY = (".build-", ".checkout-", ".removed-", ".tmp")


class BackupError(EvergreenError):
    """A backup can't be made or restored; nothing was changed."""


def backup(settings: Settings, file: Path, *, lake: bool = False, passphrase: str = "") -> Path:
    """Write the archive; it appears under its name only when it is whole. Returns the file.

    With a passphrase, the secrets in it are encrypted. Raises BackupError if the databases are not SQLite's, or the
    file exists.
    """
    _check_embedded(settings)
    if file.exists():
        raise BackupError(f"{file} already exists. Name another file, or remove it.")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # only its owner may read it
    try:
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as archive:
            _add_text(archive, ABOUT, json.dumps(_about(settings, lake, passphrase), indent=1))
            _add_databases(settings, archive)
            _add_secrets(settings, archive, passphrase)
            for folder in (*FOLDERS, *(["lake"] if lake else [])):
                _add_folder(settings.home, folder, archive)
            for lock in settings.environments.glob(f"*/{LOCK}"):
                _add_file(settings.home, lock, archive)
            if settings.engine_file.exists():
                _add_file(settings.home, settings.engine_file, archive)
        Path(name).rename(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file


def restore(settings: Settings, file: Path, *, only: str = "", passphrase: str = "") -> list[str]:
    """Restore an archive into a stopped installation; returns what was not in it and is still missing.

    What it replaces is moved to ``replaced-<time>`` below the home. ``only`` restores one part: evergreen, mlflow or
    airflow. Raises BackupError if the archive is damaged, or the passphrase is missing or wrong.
    """
    _check_embedded(settings)
    if only and only not in DATABASES:
        raise BackupError(f"there is no part '{only}'. Choose one of: {', '.join(DATABASES)}.")
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=".restore-") as place:
        staging = Path(place)
        about = _unpack(file, staging)
        if (staging / SEALED).exists() and not only:
            _unseal(staging, passphrase)
        wanted = _parts(staging, only)
        aside = Path(tempfile.mkdtemp(dir=settings.home, prefix=f"replaced-{time.strftime('%Y%m%d-%H%M%S')}-"))
        for name in wanted:
            _replace(settings.home, name, staging, aside)
        with contextlib.suppress(OSError):  # it holds what was replaced
            aside.rmdir()
    if not only:
        _install_environments(settings)
    return [name for name, size in about["lake"].items() if _size_of(settings.home / name) != size]


def main(settings: Settings, command: str, arguments: Sequence[str]) -> int:
    """``backup [FILE] [--lake]`` or ``restore FILE [--only PART]``; the passphrase is in PASSPHRASE's variable."""
    parser = argparse.ArgumentParser(prog=f"python -m include.embedded {command}")
    parser.add_argument("file", type=Path, nargs="?" if command == "backup" else None)
    if command == "backup":
        parser.add_argument("--lake", action="store_true", help="take the lake too: snapshots and predictions")
    else:
        parser.add_argument("--only", default="", help=f"restore one part: {', '.join(DATABASES)}")
    chosen = parser.parse_args([one for one in arguments if one])
    passphrase = os.environ.get(PASSPHRASE, "")
    if command == "backup":
        file = backup(settings, chosen.file or default_file(settings), lake=chosen.lake, passphrase=passphrase)
        print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
        if not passphrase:
            print(f"It contains the installation's secrets. Keep it private, or set {PASSPHRASE} to encrypt them.")
        return 0
    missing = restore(settings, chosen.file, only=chosen.only, passphrase=passphrase)
    print("restored; 'make up' starts the platform")
    if missing:
        print(f"{len(missing)} files of the lake are not there; the backup only names them, for example {missing[0]}")
    return 0


def default_file(settings: Settings) -> Path:
    """Where a backup is written if no file is named: beside the home, which may be lost as a whole."""
    return settings.home.parent / "backups" / f"evergreen-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"


def _check_embedded(settings: Settings) -> None:
    if settings.store_url or settings.mlflow_url or settings.platform != "local":
        raise BackupError(
            "this installation keeps its state in other databases (EVERGREEN_DATABASE_URL, EVERGREEN_STORE_URL or "
            "EVERGREEN_MLFLOW_URL). Use their own tools; docs/backup.md has the commands."
        )


def _about(settings: Settings, lake: bool, passphrase: str) -> dict[str, object]:
    files = [path for path in sorted(settings.lake.rglob("*")) if path.is_file() and not path.is_symlink()]
    listed = {} if lake else {str(path.relative_to(settings.home)): path.stat().st_size for path in files}
    made = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"format": FORMAT, "made": made, "engine": settings.engine, "sealed": bool(passphrase), "lake": listed}


def _add_databases(settings: Settings, archive: tarfile.TarFile) -> None:
    for name in DATABASES.values():
        source = settings.home / name
        if not source.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.db"
            with (
                closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as reading,
                closing(sqlite3.connect(copy)) as writing,
            ):
                reading.backup(writing)
                (state,) = writing.execute("PRAGMA integrity_check").fetchone()
            if state != "ok":
                raise BackupError(f"{source} is damaged ({state}). Restore it from an earlier backup first.")
            archive.add(copy, name, filter=_private)


def _add_secrets(settings: Settings, archive: tarfile.TarFile, passphrase: str) -> None:
    if not passphrase:
        return _add_folder(settings.home, SECRETS, archive)
    content = {path.name: path.read_text(encoding="utf-8") for path in settings.secrets.glob("*") if path.is_file()}
    salt = secrets.token_bytes(SALT_BYTES)
    sealed = _cipher(passphrase, salt).encrypt(json.dumps(content).encode())
    return _add_text(archive, SEALED, base64.b64encode(salt).decode() + "\n" + sealed.decode())


def _unseal(staging: Path, passphrase: str) -> None:
    if not passphrase:
        raise BackupError(f"its secrets are encrypted. Set {PASSPHRASE} to the passphrase.")
    salt, _, sealed = (staging / SEALED).read_text(encoding="utf-8").partition("\n")
    try:
        content = json.loads(_cipher(passphrase, base64.b64decode(salt)).decrypt(sealed.encode()))
    except (InvalidToken, ValueError):
        raise BackupError("its secrets can't be decrypted: the passphrase is wrong, or the file is damaged.") from None
    (staging / SECRETS).mkdir(mode=0o700)
    for name, text in content.items():
        path = staging / SECRETS / Path(name).name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    (staging / SEALED).unlink()


def _cipher(passphrase: str, salt: bytes) -> Fernet:
    """scrypt with the parameters that RFC 7914 suggests for files (N = 2^17, r = 8)."""
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key))


def _unpack(file: Path, staging: Path) -> dict[str, dict[str, int]]:
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                _check_member(member, staging)
                archive.extract(member, staging)
        about = json.loads((staging / ABOUT).read_text(encoding="utf-8"))
        known = about["format"] == FORMAT
    except (OSError, EOFError, ValueError, KeyError, tarfile.TarError) as error:
        raise BackupError(f"{file} can't be restored: {error}. Choose another backup.") from error
    if not known:
        raise BackupError(f"{file} has format {about['format']}, this release of Evergreen reads {FORMAT}.")
    for name in DATABASES.values():
        if (staging / name).exists():
            with _opened(staging / name) as database:
                (state,) = database.execute("PRAGMA integrity_check").fetchone()
            if state != "ok":
                raise BackupError(f"{file}: {name} is damaged ({state}). Choose another backup.")
    return about  # type: ignore[no-any-return]


def _check_member(member: tarfile.TarInfo, staging: Path) -> None:
    """Refuse what would be written outside of the folder, through a link, or as a device.

    (Python's own filter for this came with 3.11.4.)
    """
    path = Path(member.name)
    target = path.parent / member.linkname if member.issym() else path
    outside = any(os.path.isabs(name) or os.path.normpath(name).startswith("..") for name in (path, target))
    through = any((staging / parent).is_symlink() for parent in path.parents)
    if outside or through or not (member.isreg() or member.isdir() or member.issym()):
        raise BackupError(f"the archive contains '{member.name}', which no backup does. Choose another one.")
    member.mode &= 0o755


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path)) as database:
            yield database
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{path.name} is damaged ({error}). Choose another backup.") from error


def _parts(staging: Path, only: str) -> list[str]:
    """The files and folders of the archive to put in place."""
    if only:
        return [DATABASES[only], *(["mlflow/artifacts"] if only == "mlflow" else [])]
    locks = [str(path.relative_to(staging)) for path in staging.glob(f"environments/*/{LOCK}")]
    whole = (*DATABASES.values(), SECRETS, *FOLDERS, "lake", "engine", *locks)
    return [name for name in whole if (staging / name).exists()]


def _replace(home: Path, name: str, staging: Path, aside: Path) -> None:
    target = home / name
    for old in (target, *(target.with_name(target.name + end) for end in ("-wal", "-shm", "-journal"))):
        if old.exists() or old.is_symlink():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            old.rename((aside / name).with_name(old.name))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staging / name, target)


def _install_environments(settings: Settings) -> None:
    """Install the environments that builds link to and that are not there, from their locks."""
    for lock in sorted(settings.environments.glob(f"*/{LOCK}")):
        if not (lock.parent / ".complete").exists():
            with tempfile.TemporaryDirectory() as folder:
                copy = shutil.copy(lock, folder)  # the environment's folder is made again
                build_environment(settings, "restore", Lock(lock.parent.name, Path(copy)))


def _add_folder(home: Path, name: str, archive: tarfile.TarFile) -> None:
    """Add what lies below the folder; temporary files, whose names begin with a dot, may vanish at any time."""
    for folder, folders, files in os.walk(home / name):
        folders[:] = [one for one in folders if not one.startswith(TEMPORARY)]
        links = [one for one in folders if Path(folder, one).is_symlink()]
        for one in (".", *links, *files):
            if not one.startswith(TEMPORARY):
                _add_file(home, Path(folder, one), archive)


def _add_file(home: Path, path: Path, archive: tarfile.TarFile) -> None:
    with contextlib.suppress(FileNotFoundError):
        archive.add(path, str(path.relative_to(home)), recursive=False, filter=_private)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(text.encode()), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(text.encode()))


def _private(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Only what can be restored, without owners; sockets and pipes are left out."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isreg() or member.isdir() or member.issym() or member.islnk() else None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
