"""Environments of builds (locked, cached by the lock's hash, created by uv), and the folder of a build.

No code of a commit or its dependencies runs unconfined: uv itself is confined (network, its cache and the new
environment only) and installs only wheels, which does not run any of their code.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from include.adapters.engines.process.confinement import Completed, run_confined
from include.adapters.engines.requirements import check_requirements
from include.adapters.files import write_atomically
from include.adapters.git import author_file
from include.core.errors import BuildError, PlatformError
from include.core.spec import ModelSpec
from include.settings import PROJECT, Settings

log = logging.getLogger(__name__)

RUNTIME = PROJECT / "include" / "runtime"
COMPILER = "requirements-compile.txt"
"""What compiles models to ONNX and runs them, next to the runtime's other requirements."""
REQUIREMENTS = ("requirements.lock", "requirements.txt")
RESOLVE_SECONDS, INSTALL_SECONDS, COMPILE_SECONDS = 300, 1800, 600
MEMORY_MB = 4096
COMPILE = """
import compileall, os, pathlib, sys
files = sorted(str(path) for path in pathlib.Path(sys.argv[1]).rglob("*.py") if not {"test", "tests"} & set(path.parts))
workers = os.cpu_count() or 1
for worker in range(workers):
    if os.fork() == 0:
        for file in files[worker::workers]:
            compileall.compile_file(file, quiet=2)
        os._exit(0)
for _ in range(workers):
    os.wait()
"""
"""Not ``python -m compileall -j``: since Python 3.12 its workers use sockets, which confined jobs may not use."""
LEFTOVER_SECONDS = 86_400

_NETWORK = re.compile(
    r"failed to fetch|error sending request|connection (refused|reset)|timed out|dns error|failed to lookup"
    r"|server error",
    re.IGNORECASE,
)
_FROM_SOURCE = re.compile(r"no (usable )?wheels|building (from source|source distributions) is disabled", re.IGNORECASE)
# Inherited by uv, which runs no code of the commit: where packages come from.
INHERITED = re.compile(
    r"UV_(DEFAULT_|EXTRA_)?INDEX.*|UV_(HTTP|CONCURRENT)_.*|SSL_CERT_(FILE|DIR)|(https?|no|all)_proxy", re.IGNORECASE
)


@dataclass(frozen=True)
class Lock:
    """Every package of an environment, with version and hashes."""

    hash: str
    """Identifies the environment: SHA-256 of the lock and the Python version."""
    file: Path


class Python(NamedTuple):
    """The Python for which packages are locked."""

    version: str
    platform: str
    """In uv's notation, for example ``x86_64-unknown-linux-gnu``."""


@dataclass(frozen=True)
class PreparedBuild:
    """A build that is ready for checks, training and serving."""

    build_id: str
    environment: str
    """Hash of the lock, or the image (digest or id) with the environment."""
    folder: Path
    cached: bool
    """Whether an existing environment was reused."""
    seconds: float


def build_name(commit: str, lock: Lock) -> str:
    """The id of a commit's build with the environment of a lock."""
    return f"{commit[:12]}-{lock.hash[:8]}"


def checkout_folder(settings: Settings, model: str, commit: str) -> Path:
    """The folder where a commit is checked out before its build has an id."""
    return settings.home / "checkouts" / model / commit


def model_folder(checkout: Path, spec: ModelSpec) -> Path:
    """The model's folder in a checkout; BuildError if the commit does not have it."""
    folder = (checkout / spec.repository.path).resolve()
    if not folder.is_relative_to(checkout.resolve()) or not folder.is_dir():
        raise BuildError(
            f"{spec.name}: the commit has no folder '{spec.repository.path}'. Add it, or correct repository.path in "
            "model.yaml."
        )
    return folder


def resolve_lock(
    settings: Settings,
    model: str,
    folder: Path,
    *,
    indexes: Sequence[str] = (),
    again: bool = False,
    python: Python | None = None,
) -> Lock:
    """The complete lock of the commit's and the runtime's requirements; the same requirements give the same lock.

    The compiler's requirements are left out if the commit's conflict with them: such models are served as they were
    fitted. It is for the current Python unless ``python`` is given. ``indexes``: addresses that the requirements may
    name.

    Raises BuildError with uv's message if they can't be resolved together, or if they name another address.
    """
    requirements = next((folder / name for name in REQUIREMENTS if (folder / name).is_file()), None)
    if requirements is None:
        raise BuildError(
            f"{model}: the commit has no requirements.lock or requirements.txt next to the model's code. Add one that "
            "lists the libraries the model needs; an empty file is fine if it needs none."
        )
    check_requirements(model, requirements, indexes)
    ours = [RUNTIME / "requirements.txt", RUNTIME / COMPILER]
    version = " ".join(python) if python else platform.python_version()
    contents = [file.read_bytes() for file in (requirements, *ours)]
    key = hashlib.sha256(b"\0".join([*contents, version.encode()])).hexdigest()
    cached = settings.environments / "locks" / f"{key}.txt"
    if again or not cached.exists():
        with _scratch(settings) as scratch:
            resolved = scratch / "lock.txt"
            arguments = ["--output-file", str(resolved), "--python", _base_python()]
            arguments += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
            if python:
                arguments += ["--python-version", python.version, "--python-platform", python.platform]

            def compile_lock(files: list[Path]) -> Completed:
                command = ["pip", "compile", *map(str, files), *arguments]
                return _uv(settings, command, readable=[folder, *ours], writable=[scratch], seconds=RESOLVE_SECONDS)

            done = compile_lock([requirements, *ours])
            if done.code != 0 and not _NETWORK.search(done.output_tail):
                without = compile_lock([requirements, ours[0]])
                if without.code == 0:
                    log.warning(
                        "%s: its requirements conflict with those of the compiler to ONNX, so its versions are served "
                        "as they are fitted: %s",
                        model,
                        done.output_tail.strip(),
                    )
                done = without
            require(done, model, f"{requirements.name} can't be resolved")
            write_atomically(cached, resolved.read_bytes())
    text = cached.read_text(encoding="utf-8")
    return Lock(hashlib.sha256(f"{text}\n# Python {version}\n".encode()).hexdigest(), cached)


def build_environment(settings: Settings, model: str, lock: Lock) -> Path:
    """The virtual environment of a lock; created once, even if several builds need it at the same time."""
    folder = settings.environments / lock.hash
    complete = folder / ".complete"
    if complete.exists():
        os.utime(folder)  # so that housekeeping knows that it is used
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if complete.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        text = lock.file.read_bytes()
        require(
            _uv(
                settings,
                ["venv", "--quiet", "--clear", "--python", _base_python(), str(folder)],
                writable=[folder],
                seconds=60,
            ),
            model,
            "the environment can't be created",
        )
        python = str(folder / "bin" / "python")
        arguments = ["pip", "sync", "--quiet", "--require-hashes", "--python", python, str(lock.file)]
        done = _uv(settings, arguments, readable=[lock.file], writable=[folder], seconds=INSTALL_SECONDS)
        require(done, model, "the locked packages can't be installed")
        _compile(settings, folder)
        (folder / "requirements.lock").write_bytes(text)
        complete.touch()
    return folder


def discard_checkout(settings: Settings, model: str, commit: str) -> None:
    """Delete a checkout whose build is recorded, and leftovers of runs that were killed more than a day ago."""
    folder = checkout_folder(settings, model, commit)
    leftovers = [*folder.parent.glob(".checkout-*"), *(settings.builds / model).glob(".build-*")]
    obsolete = [path for path in leftovers if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS]
    if folder.is_dir():
        # Renamed first, so that a checkout under its own name is always complete.
        aside = Path(tempfile.mkdtemp(prefix=".checkout-", dir=folder.parent))
        folder.rename(aside / "files")
        obsolete.append(aside)
    author_file(folder).unlink(missing_ok=True)
    for path in obsolete:
        shutil.rmtree(path, ignore_errors=True)


def assemble(build: Path, checkout: Path, environment: Path | None = None) -> Path:
    """Create the build's folder atomically: code, runtime, reports, and a link to its environment, if any."""
    if not build.is_dir():
        build.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".build-", dir=build.parent))
        try:
            shutil.copytree(checkout, temporary / "code", symlinks=True)
            shutil.copytree(RUNTIME, temporary / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
            (temporary / "reports").mkdir()
            if environment is not None:
                (temporary / "environment").symlink_to(os.path.relpath(environment, build))
            with contextlib.suppress(OSError):  # another run was faster
                temporary.rename(build)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return build


def _compile(settings: Settings, folder: Path) -> None:
    """Compile all packages except tests to bytecode, for faster starts, without loading any (-S: no .pth files)."""
    python = str(folder / "bin" / "python")
    run_confined(
        [python, "-I", "-S", "-c", COMPILE, str(folder / "lib")],
        cwd=folder,
        readable=[],
        writable=[folder],
        scratch=settings.scratch,
        log=None,
        time_limit=COMPILE_SECONDS,
        memory_mb=MEMORY_MB,
        env={"PYTHONDONTWRITEBYTECODE": ""},
    )


def _uv(
    settings: Settings,
    arguments: list[str],
    *,
    readable: list[Path] | None = None,
    writable: list[Path],
    seconds: float,
) -> Completed:
    import uv

    cache = Path(os.environ.get("UV_CACHE_DIR") or _user_folder("XDG_CACHE_HOME", ".cache") / "uv").absolute()
    cache.mkdir(parents=True, exist_ok=True)
    configuration = _user_folder("XDG_CONFIG_HOME", ".config")
    certificates = [Path(os.environ[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    wheels_only = ["--only-binary", ":all:"] if arguments[0] == "pip" else []
    return run_confined(
        [uv.find_uv_bin(), *arguments, *wheels_only],
        cwd=Path("/"),  # otherwise uv would look for a pyproject.toml in every parent folder
        readable=[*(readable or []), configuration / "uv", Path("/etc/uv"), *_base_folders(), *certificates],
        writable=[*writable, cache],
        scratch=settings.scratch,
        log=None,
        time_limit=seconds,
        memory_mb=MEMORY_MB,
        connect=True,
        link_across=True,  # packages are linked from the cache
        env={
            **{name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)},
            "UV_CACHE_DIR": str(cache),
            "UV_SYSTEM_CERTS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "XDG_CONFIG_HOME": str(configuration),
            "PYTHONDONTWRITEBYTECODE": "",
        },
    )


def require(done: Completed, model: str, problem: str) -> None:
    """Raise BuildError with uv's output unless it succeeded, or PlatformError if a retry may help."""
    if done.code == 0:
        return
    message = "\n".join(line.strip() for line in done.output_tail.strip().splitlines()[-15:])
    if done.limit:
        raise PlatformError(f"{model}: {problem}: uv exceeded its {done.limit} limit. {message}")
    if _NETWORK.search(message):
        raise PlatformError(f"{model}: the package index can't be reached. Check the network.\n{message}")
    remedy = "Correct the commit's requirements."
    if _FROM_SOURCE.search(message):
        remedy = (
            "Only wheels are installed, because building from source runs the package's code: choose a version that "
            "has wheels for this Python, or upload a wheel to your package index."
        )
    raise BuildError(f"{model}: {problem}. {remedy}\n{message}")


def _base_python() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _base_folders() -> list[Path]:
    prefix = Path(_base_python()).parent.parent
    return [prefix / name for name in ("bin", "include", "lib", "lib64", "share")]


def _user_folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)


@contextlib.contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    settings.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="lock-", dir=settings.scratch) as folder:
        yield Path(folder)
