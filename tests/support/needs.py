"""What a test needs beyond Python, Git and make, and how to get it: ``@pytest.mark.needs("docker", "root")``.

The marker is checked before any fixture is set up. A test whose needs are missing is skipped with the way to get
them; with ``EVERGREEN_REQUIRE_ALL=1`` it fails. A test that skips for any other reason always fails, so no check can
disappear unnoticed.

``EVERGREEN_SKIPPED=<file>`` appends the ids of all skipped tests to a file, for a later run of exactly these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path

import pytest


def program(*names: str, package: str) -> Callable[[], str]:
    """A need for one of these programs on PATH, which Debian's package brings."""

    def missing() -> str:
        if any(shutil.which(name) for name in names):
            return ""
        return f"{' or '.join(names)} is not on PATH. On Debian and Ubuntu: apt install {package}"

    return missing


def _root() -> str:
    return "" if os.geteuid() == 0 else "this test must run as root"


def _landlock() -> str:
    from include.adapters.engines.process.confinement import isolation

    return "" if isolation() != "environment" else "this kernel has no Landlock. Linux 5.13 or newer has it"


def _landlock_signals() -> str:
    if _landlock():
        return _landlock()
    from py_landlock import get_abi_version

    return "" if get_abi_version() >= 6 else "Landlock does not restrict signals here. Linux 6.12 or newer does"


def _read_only_mounts() -> str:
    from include.adapters.engines.process.confinement import can_make_read_only

    return (
        "" if can_make_read_only() else "mount namespaces are not allowed here. Allow user namespaces, or run as root"
    )


def _system_calls() -> str:
    from include.adapters.engines.process.system_calls import AUDIT_ARCHITECTURES, seccomp_program

    if seccomp_program(bind=False, connect=False, fork=True):
        return ""
    return f"no table of system calls for this machine. Run this on Linux, on {' or '.join(AUDIT_ARCHITECTURES)}"


def _kernel_headers() -> str:
    headers = ("asm-generic/unistd.h", "x86_64-linux-gnu/asm/unistd_64.h")
    if all((Path("/usr/include") / header).exists() for header in headers):
        return ""
    return "the kernel's headers are not there. On Debian and Ubuntu, on x86_64: apt install linux-libc-dev"


def _docker() -> str:
    from include.adapters.engines.docker.client import DockerHost
    from include.adapters.engines.docker.images import base_image
    from include.core.errors import PlatformError
    from include.settings import Settings

    try:
        base_image(DockerHost(Settings.from_environment()))
    except PlatformError as error:
        return str(error)
    return ""


def compose_command() -> list[str]:
    """The command line of Docker Compose; empty where it is not installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        asked = [*command, "version"]
        if shutil.which(command[0]) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return command
    return []


def _compose() -> str:
    return (
        "" if compose_command() else "Docker Compose is not installed. On Debian and Ubuntu: apt install docker-compose"
    )


def _browser() -> str:
    if shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome")):
        return ""
    return "Chromium with its driver is not on PATH. On Debian and Ubuntu: apt install chromium chromium-driver"


def _database_servers() -> str:
    from tests.support.database_servers import missing_servers

    return missing_servers()


PROMETHEUS = "--no-install-recommends prometheus"
NEEDS: dict[str, Callable[[], str]] = {
    "root": _root,
    "landlock": _landlock,
    "landlock_signals": _landlock_signals,
    "read_only_mounts": _read_only_mounts,
    "system_calls": _system_calls,
    "kernel_headers": _kernel_headers,
    "docker": _docker,
    "dockerd": program("dockerd", package="docker.io"),
    "compose": _compose,
    "iproute": program("ip", package="iproute2"),
    "iptables": program("iptables", package="iptables"),
    "image_registry": program("docker-registry", package="docker-registry"),
    "browser": _browser,
    "database_servers": _database_servers,
    "prometheus": program("prometheus", package=PROMETHEUS),
    "promtool": program("promtool", package=PROMETHEUS),
    "alertmanager": program("prometheus-alertmanager", package="--no-install-recommends prometheus-alertmanager"),
    "amtool": program("amtool", package="--no-install-recommends prometheus-alertmanager"),
}
"""Each need's check: why it is missing and how to get it, or an empty string."""


@lru_cache
def missing(need: str) -> str:
    """Why the need is missing and how to get it; empty when it is there. Asked once a process."""
    return NEEDS[need]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(*what): skipped where one of these is missing: {', '.join(NEEDS)}")


def needs_of(item: pytest.Item) -> list[str]:
    """What the test's markers name."""
    return [str(need) for marker in item.iter_markers("needs") for need in marker.args]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = [reason for need in needs_of(item) if (reason := missing(need))]
    if reasons:
        pytest.skip("; ".join(reasons))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything is required, and where no marker names what is missing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if os.environ.get("EVERGREEN_REQUIRE_ALL") == "1":
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and EVERGREEN_REQUIRE_ALL=1 allows none: {why}"
        elif not any(missing(need) for need in needs_of(item)):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} was skipped, and no marker says what is missing. Mark it with "
                f"@pytest.mark.needs(...), see tests/support/needs.py: {why}"
            )
        elif skipped := os.environ.get("EVERGREEN_SKIPPED"):
            with Path(skipped).open("a", encoding="utf-8") as file:
                file.write(f"{item.nodeid}\n")
    return report
