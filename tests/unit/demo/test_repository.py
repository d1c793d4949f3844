"""The model's repository: made once, and changed by commits as a user pushes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo import repository
from demo.story import COMMIT_CHANGES, COMMIT_MESSAGE
from include.settings import PROJECT

MODEL = PROJECT / "include" / "models" / "flights"


def git(bare: Any, *arguments: Any) -> Any:
    return subprocess.run(["git", *arguments], cwd=bare, capture_output=True, text=True, check=True).stdout


def test_the_first_commit_holds_the_models_files_and_no_caches(tmp_path: Path) -> None:
    bare = tmp_path / "repositories" / "flights.git"
    commit = repository.create(bare, MODEL)
    names = git(bare, "ls-tree", "-r", "--name-only", "main").split()
    assert {"model.py", "model.yaml", "requirements.lock", "tests/test_model.py"} <= set(names)
    assert not [name for name in names if "cache" in name or name.endswith(".pyc")]
    assert repository.head_of(bare) == commit


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    bare = tmp_path / "flights.git"
    assert repository.create(bare, MODEL) == repository.create(bare, MODEL)


def test_the_second_commit_of_the_demo_fits_the_models_code_and_is_made_once(tmp_path: Path) -> None:
    bare = tmp_path / "flights.git"
    first = repository.create(bare, MODEL)
    second = repository.change(bare, COMMIT_MESSAGE, COMMIT_CHANGES)
    assert second != first
    assert "learning_rate: float = 0.05" in git(bare, "show", "main:model.py")
    assert repository.change(bare, COMMIT_MESSAGE, COMMIT_CHANGES) == second
    compile(git(bare, "show", "main:model.py"), "model.py", "exec")


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "flights.git"
    repository.create(bare, MODEL)
    with pytest.raises(repository.RepositoryError, match="no longer contains 'no such text'"):
        repository.change(bare, "Impossible", {"model.py": {"no such text": ""}})


def test_a_users_git_hooks_and_signing_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gitconfig").write_text("[commit]\n gpgsign = true\n[user]\n signingkey = none\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert repository.create(tmp_path / "flights.git", MODEL)
