"""The model's Git repository, and commits made as a user would: clone, change, commit, push."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

AUTHOR = {"name": "Demo User", "email": "demo@localhost"}
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache")


class RepositoryError(Exception):
    """A Git command failed; its message says why."""


def create(bare: Path, source: Path, branch: str = "main") -> str:
    """Create the bare repository ``bare`` with the files of ``source`` as its first commit; returns the commit.

    A repository that already has the branch is left unchanged.
    """
    head = head_of(bare, branch)
    if head:
        return head
    bare.parent.mkdir(parents=True, exist_ok=True)
    _git(bare.parent, "init", "--quiet", "--bare", "--initial-branch", branch, str(bare))
    with tempfile.TemporaryDirectory(prefix="evergreen-demo-") as scratch:
        work = Path(scratch) / "work"
        shutil.copytree(source, work, ignore=IGNORED)
        _git(work, "init", "--quiet", "--initial-branch", branch)
        return _commit_and_push(work, bare, branch, "The first model")


def change(bare: Path, message: str, replacements: Mapping[str, Mapping[str, str]], branch: str = "main") -> str:
    """Push a commit that replaces text in files (file → old → new); returns the commit.

    A commit with this message is not made twice. Raises RepositoryError when a text to replace is missing.
    """
    history = _git(bare, "log", "--format=%H%x09%s", branch)
    for line in history.splitlines():
        commit, _, subject = line.partition("\t")
        if subject == message:
            return commit
    with _clone(bare, branch) as work:
        for name, texts in replacements.items():
            content = (work / name).read_text(encoding="utf-8")
            for old, new in texts.items():
                if old not in content:
                    raise RepositoryError(f"{name} in {bare} no longer contains {old!r}, so it can't be replaced.")
                content = content.replace(old, new)
            (work / name).write_text(content, encoding="utf-8")
        return _commit_and_push(work, bare, branch, message)


def head_of(bare: Path, branch: str = "main") -> str | None:
    """The newest commit of the branch; None without a repository or a commit."""
    if not (bare / "HEAD").exists():
        return None
    try:
        return _git(bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").strip() or None
    except RepositoryError:
        return None


@contextmanager
def _clone(bare: Path, branch: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="evergreen-demo-") as scratch:
        work = Path(scratch) / "work"
        _git(bare, "clone", "--quiet", "--branch", branch, str(bare), str(work))
        yield work


def _commit_and_push(work: Path, bare: Path, branch: str, message: str) -> str:
    _git(work, "add", "--all", "--force")
    _git(work, "commit", "--quiet", "--message", message)
    _git(work, "push", "--quiet", str(bare), f"HEAD:refs/heads/{branch}")
    return _git(work, "rev-parse", "HEAD").strip()


def _git(folder: Path, *arguments: str) -> str:
    # The user's own Git settings (signing, hooks, templates) must not affect the demo's commits.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_{role}_{key.upper()}": value for role in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()},
    }
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RepositoryError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
