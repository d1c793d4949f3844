"""A real Git repository for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from include.core.spec import Repository


class RealRepository:
    """A bare repository with a working copy that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.work = folder / "remote.git", folder / "work"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), cwd=folder)
        self.git("init", "--quiet", "--initial-branch=main", str(self.work), cwd=folder)
        self.commit({"model.py": "VALUE = 1\n"})

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        identity = ["-c", "user.name=Team", "-c", "user.email=team@example.com", "-c", "tag.gpgSign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=cwd or self.work, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        """Commit these files; the others stay as they are."""
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self.push()

    def commit_only(self, files: dict[str, str]) -> str:
        """Commit these files, and remove all others: what earlier tests have left."""
        self.git("rm", "-r", "-f", "--quiet", "--ignore-unmatch", ".")
        return self.commit(files)

    def push(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=change")
        self.git("push", "--quiet", str(self.bare), "HEAD:main")
        return self.git("rev-parse", "HEAD")

    @property
    def spec(self) -> Repository:
        return Repository(url=str(self.bare))
