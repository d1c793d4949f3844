"""Backups: whole while everything is being written, private, and restored completely or not at all."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from include.embedded import backup
from include.embedded.backup import BackupError
from include.settings import Settings

PHRASE = "correct horse battery staple"


def fill(database: Path, rows: int) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS one (number INTEGER)")
        connection.execute("CREATE TABLE IF NOT EXISTS other (number INTEGER)")
        for number in range(rows):
            connection.execute("INSERT INTO one VALUES (?)", [number])
            connection.execute("INSERT INTO other VALUES (?)", [number])


def counts(database: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(database)) as connection:
        return tuple(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("one", "other"))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """An installation with something of everything."""
    settings = Settings(home=tmp_path / "home")
    for name in backup.DATABASES.values():
        fill(settings.home / name, 10)
    texts = {
        "secrets/prediction_token": "a secret token",
        "mlflow/artifacts/fares/1/model.skops": "model",
        "builds/fares/c1-e1/code/model.py": "code",
        "prediction_log/fares/1-production@1-1-2.jsonl": "{}\n",
        "lake/predictions/fares/2013-05/part.parquet": "rows",
        "environments/e1/requirements.lock": "",
        "engine": "process",
    }
    for name, text in texts.items():
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / name).write_text(text, encoding="utf-8")
    (settings.home / "builds" / "fares" / "c1-e1" / "environment").symlink_to("../../../environments/e1")
    (settings.home / "environments" / "e1" / ".complete").touch()
    return settings


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "elsewhere")


def files(settings: Settings) -> dict[str, str]:
    found = [
        path for path in settings.home.rglob("*") if path.is_file() and not path.name.endswith((".db", "-shm", "-wal"))
    ]
    return {str(path.relative_to(settings.home)): path.read_text(encoding="utf-8") for path in found}


def restored(settings: Settings, file: Path, **options: str) -> list[str]:
    """Restore without installing environments, which needs a package index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "_install_environments", lambda _: None)
        return backup.restore(settings, file, **options)


def test_what_was_backed_up_is_there_again(here: Settings, elsewhere: Settings, tmp_path: Path) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz", lake=True)
    assert file.stat().st_mode & 0o077 == 0, "it contains secrets"
    assert restored(elsewhere, file) == []
    expected = {name: text for name, text in files(here).items() if not name.endswith(".complete")}
    assert files(elsewhere) == expected
    link = elsewhere.home / "builds" / "fares" / "c1-e1" / "environment"
    assert link.readlink() == Path("../../../environments/e1")
    for name in backup.DATABASES.values():
        assert counts(elsewhere.home / name) == (10, 10)


def test_what_is_missing_of_the_lake_is_named(here: Settings, elsewhere: Settings, tmp_path: Path) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz")
    assert restored(elsewhere, file) == ["lake/predictions/fares/2013-05/part.parquet"]
    assert restored(here, file) == [], "where the lake is still there, nothing is missing"


def test_a_backup_made_under_writes_is_of_one_moment(here: Settings, elsewhere: Settings, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for name in backup.DATABASES.values():
                fill(here.home / name, 1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backups = [backup.backup(here, tmp_path / f"{number}.tar.gz") for number in range(5)]
    finally:
        stop.set()
        writer.join()
    for file in backups:
        restored(elsewhere, file)
        for name in backup.DATABASES.values():
            one, other = counts(elsewhere.home / name)
            assert one == other >= 10, "half of a transaction"


def test_secrets_are_encrypted_with_a_passphrase(here: Settings, elsewhere: Settings, tmp_path: Path) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz", passphrase=PHRASE)
    assert b"a secret token" not in gzip.decompress(file.read_bytes())
    for wrong in ("", PHRASE.upper()):
        with pytest.raises(BackupError, match=r"encrypted|can't be decrypted"):
            restored(elsewhere, file, passphrase=wrong)
        assert list(elsewhere.home.iterdir()) == [], "nothing is half restored"
    restored(elsewhere, file, passphrase=PHRASE)
    token = elsewhere.secrets / "prediction_token"
    assert token.read_text(encoding="utf-8") == "a secret token"
    assert token.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["cut off", "no archive", "another format", "damaged database", "gone"])
def test_a_damaged_backup_changes_nothing(here: Settings, elsewhere: Settings, tmp_path: Path, damage: str) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz")
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "no archive":
        file.write_bytes(b"nonsense")
    elif damage == "gone":
        file.unlink()
    else:
        changed = {"another format": (backup.ABOUT, b'{"format": 99, "lake": {}}')}
        name, content = changed.get(damage, ("evergreen.db", b"SQLite format 3\0" + b"x" * 5000))
        rewrite(file, name, content)
    with pytest.raises(BackupError):
        restored(elsewhere, file)
    assert list(elsewhere.home.iterdir()) == []


def rewrite(file: Path, name: str, content: bytes | None = None, renamed: str = "") -> None:
    """Replace the content, or change the name, of one member of the archive."""
    members = []
    with tarfile.open(file) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            members.append((member, stream.read() if stream else None))
    with tarfile.open(file, "w:gz") as archive:
        for member, text in members:
            own = content if member.name == name and content is not None else text
            member.size = len(own) if own is not None else 0
            member.name = renamed if member.name == name and renamed else member.name
            archive.addfile(member, io.BytesIO(own) if own is not None else None)


@pytest.mark.parametrize("name", ["../outside", "/tmp/evergreen-outside", "lake/../../outside"])
def test_an_archive_can_not_write_outside_of_the_installation(
    here: Settings, elsewhere: Settings, tmp_path: Path, name: str
) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz")
    rewrite(file, "engine", renamed=name)
    with pytest.raises(BackupError, match="which no backup does"):
        restored(elsewhere, file)
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/evergreen-outside").exists()
    assert list(elsewhere.home.iterdir()) == []


@pytest.mark.parametrize("link", ["/etc", "../..", "builds/../../.."])
def test_an_archive_can_not_write_through_links(here: Settings, elsewhere: Settings, tmp_path: Path, link: str) -> None:
    file = tmp_path / "backup.tar.gz"
    with tarfile.open(backup.backup(here, tmp_path / "whole.tar.gz")) as whole:
        about = whole.extractfile(backup.ABOUT).read()
    with tarfile.open(file, "w:gz") as archive:
        for name, target in ((backup.ABOUT, ""), ("lake", link), ("lake/planted", "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            member.size = 0 if target else len(about)
            archive.addfile(member, None if target else io.BytesIO(about))
    with pytest.raises(BackupError, match="which no backup does"):
        restored(elsewhere, file)
    assert not (tmp_path / "planted").exists()


def test_one_part_is_restored_alone_and_the_damaged_one_is_kept_aside(here: Settings, tmp_path: Path) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz")
    fill(here.home / "evergreen.db", 5)
    (here.home / "mlflow" / "mlflow.db").write_bytes(b"overwritten")
    restored(here, file, only="mlflow")
    assert counts(here.home / "mlflow" / "mlflow.db") == (10, 10)
    assert counts(here.home / "evergreen.db") == (15, 15), "the other parts are as they were"
    (aside,) = here.home.glob("replaced-*")
    assert (aside / "mlflow" / "mlflow.db").read_bytes() == b"overwritten"


def test_a_damaged_database_is_not_backed_up_as_if_it_were_well(here: Settings, tmp_path: Path) -> None:
    (here.home / "mlflow" / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises((BackupError, sqlite3.DatabaseError)):
        backup.backup(here, tmp_path / "backup.tar.gz")
    assert list(tmp_path.glob("*.tar.gz")) == []
    assert list(tmp_path.glob(".*")) == []


def test_mistakes_are_refused_before_anything_happens(here: Settings, tmp_path: Path) -> None:
    file = backup.backup(here, tmp_path / "backup.tar.gz")
    with pytest.raises(BackupError, match="already exists"):
        backup.backup(here, file)
    with pytest.raises(BackupError, match="there is no part 'lake'"):
        restored(here, file, only="lake")
    with pytest.raises(BackupError, match=r"docs/backup\.md"):
        backup.backup(Settings(home=here.home, store_url="postgresql://db/evergreen"), tmp_path / "other.tar.gz")
