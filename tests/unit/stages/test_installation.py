"""What each stage is handed."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from include.settings import PROJECT, Settings
from include.stages.installation import open_installation


def test_equal_settings_give_the_same_installation_and_others_another(tmp_path: Path) -> None:
    one = open_installation(Settings(home=tmp_path / "a"))
    assert open_installation(Settings(home=tmp_path / "a")) is one
    other = open_installation(Settings(home=tmp_path / "b"))
    assert (one.settings.home, other.settings.home) == (tmp_path / "a", tmp_path / "b")
    assert one.store.url != other.store.url
    with pytest.raises(FrozenInstanceError):
        one.store = other.store  # type: ignore[misc]


def test_without_settings_it_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    assert open_installation().settings.home == tmp_path
    assert open_installation() is open_installation(Settings.from_environment())


def test_opening_touches_no_file(tmp_path: Path) -> None:
    open_installation(Settings(home=tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_opening_imports_neither_mlflow_nor_docker() -> None:
    """MLflow takes seconds to import, and opening is the first thing that each operator does."""
    program = (
        "import sys; from include.stages.installation import open_installation; open_installation(); "
        "print(sorted({'mlflow', 'docker', 'pandas', 'airflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
