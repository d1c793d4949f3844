"""The registry: what it does not say is never taken for a version that was lost."""

from pathlib import Path
from typing import Any

import pytest

from include.adapters.registry import Registry
from include.core.errors import NotRegisteredError, PlatformError
from include.settings import Settings

NOTHING: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": {}, "description": ""}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "mlflow").mkdir()
    return Registry(Settings(home=tmp_path))


def register(registry: Registry, tmp_path: Path, candidate: str) -> str:
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "model.skops").write_text("model")
    return registry.register("fares", bundle, candidate=candidate, **NOTHING)


@pytest.mark.parametrize("number", ["7", "seven"])
def test_a_version_that_is_not_there_is_not_registered(registry: Registry, tmp_path: Path, number: str) -> None:
    with pytest.raises(NotRegisteredError, match=rf"no version {number} \(known: none\)"):
        registry.version("fares", number)
    assert register(registry, tmp_path, "first") == "1"
    with pytest.raises(NotRegisteredError, match=rf"no version {number} \(known: 1\)"):
        registry.version("fares", number)


def test_a_registry_that_does_not_answer_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a candidate would be judged without the champion, by a threshold alone."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    unreachable = Registry(Settings(home=tmp_path, mlflow_url="http://127.0.0.1:9"))
    with pytest.raises(PlatformError, match="the registry can't be asked for version 1"):
        unreachable.version("fares", "1")


def test_numbers_go_on_after_a_loss_also_when_it_was_killed_meanwhile(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifacts" / "fares" / "3").mkdir(parents=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "delete_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            register(registry, tmp_path, "first")
    assert register(registry, tmp_path, "first") == "4"
    assert register(registry, tmp_path, "first") == "4", "the same candidate is the same version"
    assert register(registry, tmp_path, "second") == "5"
    assert "sha256" in registry.version("fares", "4").tags
