"""Environments, built by the real uv from an index of tiny packages."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.adapters.engines import environments
from include.adapters.engines.environments import (
    PreparedBuild,
    build_environment,
    discard_checkout,
    model_folder,
    resolve_lock,
)
from include.adapters.engines.process.confinement import Completed
from include.core.errors import BuildError, PlatformError
from include.core.spec import ModelSpec, Repository
from include.settings import Settings
from include.stages import ci
from include.stages.installation import open_installation
from tests.support.package_index import package_index
from tests.support.real_repository import RealRepository

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an index of two tiny packages."""
    packages = {"iniconfig": ["1.1.1", "2.1.0"], "packaging": ["24.2", "25.0"]}
    with package_index(tmp_path_factory.mktemp("index"), packages) as url:
        yield url


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str) -> Path:
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "__init__.py").touch()
    (runtime / "requirements.txt").write_text("iniconfig==2.1.0\n")
    (runtime / "requirements-compile.txt").write_text("packaging<25.1\n")
    monkeypatch.setattr(environments, "RUNTIME", runtime)
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path: Path) -> RealRepository:
    repository = RealRepository(tmp_path)
    repository.commit({"requirements.txt": ""})
    return repository


@pytest.fixture
def model(spec: ModelSpec, repository: RealRepository) -> Any:
    return spec.model_copy(update={"repository": Repository(url=str(repository.bare))})


def prepare_build(model: Any, commit: Any) -> PreparedBuild:
    return ci.build_environment(open_installation(), model, commit)


def requirements(folder: Path, text: str, name: str = "requirements.txt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def test_a_build_is_complete_and_made_once(model: Any, repository: RealRepository, home: Path) -> None:
    commit = repository.git("rev-parse", "HEAD")
    build = prepare_build(model, commit)
    assert build.build_id == f"{commit[:12]}-{build.environment[:8]}"
    assert build.folder == home / "builds" / "flights" / build.build_id
    assert (build.folder / "code" / "model.py").exists()
    assert (build.folder / "runtime" / "__init__.py").exists()
    site = next((build.folder / "environment").resolve().glob("lib/python*/site-packages"))
    assert (site / "iniconfig").is_dir()
    assert list(site.glob("iniconfig/__pycache__/*.pyc")), "no bytecode: every start would compile it again"
    discard_checkout(Settings.from_environment(), "flights", commit)
    again = prepare_build(model, commit)
    assert (again.folder, again.cached, build.cached) == (build.folder, True, False)


def test_a_crash_in_the_middle_is_made_good_by_the_next_try(
    model: Any, repository: RealRepository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while installing, killed while assembling: what is half done is never used."""
    commit = repository.git("rev-parse", "HEAD")

    def crash(*_arguments: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    for name in ("_compile", "assemble"):
        with monkeypatch.context() as patch:
            patch.setattr(environments, name, crash)
            with pytest.raises(KeyboardInterrupt):
                prepare_build(model, commit)
    build = prepare_build(model, commit)
    assert (build.folder / "environment" / "bin" / "python").exists()


def _build_slowly(started: Any, model: Any, commit: Any, runtime: Any) -> None:
    environments.RUNTIME = runtime
    install = environments._uv

    def uv(settings: Any, arguments: Any, **more: Any) -> Any:
        done = install(settings, arguments, **more)
        if arguments[:2] == ["pip", "sync"]:
            started.set()
            time.sleep(60)
        return done

    environments._uv = uv
    prepare_build(model, commit)


def test_kill_9_while_it_builds_then_a_retry_gives_the_whole_environment(
    model: Any, repository: RealRepository
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    context = multiprocessing.get_context("fork")
    started = context.Event()
    victim = context.Process(target=_build_slowly, args=(started, model, commit, environments.RUNTIME))
    victim.start()
    assert started.wait(60)
    victim.kill()
    victim.join()
    build = prepare_build(model, commit)
    assert not build.cached, "an environment without its marker must not be taken for complete"
    assert (build.folder / "environment" / ".complete").exists()


def _build(model: Any, commit: Any, runtime: Any, results: Any) -> None:
    environments.RUNTIME = runtime
    results.put(prepare_build(model, commit))


def test_two_builds_at_once_share_one_environment(model: Any, repository: RealRepository) -> None:
    commit = repository.git("rev-parse", "HEAD")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    both = [context.Process(target=_build, args=(model, commit, environments.RUNTIME, results)) for _ in range(2)]
    for process in both:
        process.start()
    built = [results.get(timeout=90) for _ in both]
    for process in both:
        process.join()
    assert built[0].build_id == built[1].build_id
    assert min(build.cached for build in built) is False
    assert (built[0].folder / "environment" / "bin" / "python").exists()


def test_the_same_requirements_give_the_same_lock_with_hashes(tmp_path: Path) -> None:
    one = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", "packaging==24.2\n"))
    two = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "b", "packaging==24.2\n"))
    other = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "c", "packaging==25.0\n"))
    assert one == two
    assert other.hash != one.hash
    assert "packaging==24.2" in one.file.read_text()
    assert "--hash=sha256:" in one.file.read_text()


def test_a_lock_file_goes_before_requirements_txt(tmp_path: Path) -> None:
    folder = requirements(tmp_path / "a", "packaging==24.2\n")
    requirements(folder, "packaging==25.0\n", "requirements.lock")
    assert "packaging==25.0" in resolve_lock(Settings.from_environment(), "flights", folder).file.read_text()


def test_requirements_that_conflict_with_the_compilers_cost_the_compiler_and_not_the_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (environments.RUNTIME / "requirements-compile.txt").write_text("packaging==24.2\n")
    with_it = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", ""))
    assert "packaging==24.2" in with_it.file.read_text()
    assert not caplog.text
    without = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "b", "packaging==25.0\n"))
    assert "packaging==25.0" in without.file.read_text() and "iniconfig" in without.file.read_text()
    assert "flights: its requirements conflict with those of the compiler to ONNX" in caplog.text


def test_a_commit_without_requirements_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"no requirements\.lock or requirements\.txt.*Add one"):
        resolve_lock(Settings.from_environment(), "flights", tmp_path)


def test_requirements_that_can_not_be_met_give_uvs_own_words(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"(?s)Correct the commit's requirements.*iniconfig"):
        resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", "iniconfig==1.1.1\n"))


def test_a_package_without_wheels_is_not_built(tmp_path: Path) -> None:
    package = tmp_path / "a" / "evil"
    package.mkdir(parents=True)
    (package / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(BuildError):
        resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", f"evil @ file://{package}\n"))
    assert not (tmp_path / "ran").exists(), "code of a dependency ran while it was resolved"


@pytest.mark.needs("landlock")
def test_requirements_can_not_show_the_platforms_files(tmp_path: Path, home: Path) -> None:
    secret = home / "secrets" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2 is the token\n")
    with pytest.raises(BuildError) as raised:
        resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", f"-r {secret}\n"))
    assert "hunter2" not in str(raised.value)


def test_an_index_that_does_not_answer_is_worth_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "error: Failed to fetch: `https://pypi.org/simple/x/`\n  Caused by: dns error"
    monkeypatch.setattr(environments, "_uv", lambda *_a, **_k: Completed(2, message, 1.0, None))
    with pytest.raises(PlatformError, match="index can't be reached"):
        resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", "x\n"))


def test_an_environment_is_not_made_again_without_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = resolve_lock(Settings.from_environment(), "flights", requirements(tmp_path / "a", ""))
    folder = build_environment(Settings.from_environment(), "flights", lock)
    monkeypatch.setattr(environments, "_uv", None)
    assert build_environment(Settings.from_environment(), "flights", lock) == folder


def test_a_model_folder_that_the_commit_lacks_is_named(tmp_path: Path, spec: ModelSpec) -> None:
    for path in ("models/flights", "../.."):
        lost = spec.model_copy(update={"repository": Repository(url="x", path=path)})
        with pytest.raises(BuildError, match="has no folder"):
            model_folder(tmp_path, lost)


def test_a_discarded_checkout_takes_old_leftovers_with_it(home: Path) -> None:
    folder = environments.checkout_folder(Settings.from_environment(), "flights", "c" * 40)
    folder.mkdir(parents=True)
    old, new = folder.parent / ".checkout-old", folder.parent / ".checkout-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    discard_checkout(Settings.from_environment(), "flights", "c" * 40)
    assert [path.name for path in folder.parent.iterdir()] == [".checkout-new"]
