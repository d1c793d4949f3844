"""A Docker Engine of a test's own, which may be killed, and whose disk may fill up."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest
from docker.errors import DockerException

from include.settings import Settings
from tests.support.waiting import wait_for

BRIDGE, ADDRESS = "evergreen-test0", "10.231.77.1/24"
"""The private engine's way to the package index; the rules of the other engine stay as they are."""
RULES = [
    ["--table", "nat", "POSTROUTING", "--source", ADDRESS, "!", "--out-interface", BRIDGE, "--jump", "MASQUERADE"],
    ["--table", "filter", "FORWARD", "--in-interface", BRIDGE, "--jump", "ACCEPT"],
    ["--table", "filter", "FORWARD", "--out-interface", BRIDGE, "--jump", "ACCEPT"],
]
NEEDS = ("root", "docker", "dockerd", "iptables", "iproute")


class PrivateEngine:
    """A second dockerd beside the installation's, with the same base image; it needs root."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = Path(tempfile.mkdtemp(prefix="eg-dockerd-"))  # its sockets' paths must be short
        self.host = f"unix://{self.run}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again after :meth:`kill`; returns when it answers."""
        (self.run / "pid").unlink(missing_ok=True)
        if not Path("/sys/class/net", BRIDGE).exists():
            _make_bridge()
        folders = ["--data-root", str(self.data), "--exec-root", str(self.run / "exec"), "--pidfile", f"{self.run}/pid"]
        with (self.run / "log").open("ab") as log:
            command = ["dockerd", "--host", self.host, *folders, "--bridge", BRIDGE, "--iptables=false"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._answers, 60, "the private engine", log=self.run / "log")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.run / "log").read_text()
        try:
            with contextlib.closing(docker.DockerClient(self.host)) as client:
                client.ping()
        except DockerException:
            return False
        return True

    def kill(self) -> None:
        """End it at once, as a crash does; its containers stay behind."""
        assert self.process is not None
        containerd = psutil.Process(int((self.run / "exec" / "containerd" / "containerd.pid").read_text()))
        self.process.kill()
        self.process.wait(30)
        containerd.wait(30)  # goes with it, a moment later; a dockerd that still sees it waits for it in vain

    def stop(self) -> None:
        """End it and what it runs, and remove what it kept."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        _remove_bridge()
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in sorted((path for path in mounted if path.startswith(f"{self.data}/")), reverse=True):
            subprocess.run(["umount", path], check=False)
        subprocess.run(["umount", str(self.data)], check=False, capture_output=True)  # dockerd mounts it on itself
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def take_base_image(self) -> None:
        """Copy the base image of the engine that the tests have."""
        name = Settings.from_environment().base_image
        saved = subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.host, "load", "--quiet"], stdin=saved.stdout, check=True)
        assert saved.wait(60) == 0


@contextlib.contextmanager
def private_engine(data: Path) -> Iterator[PrivateEngine]:
    """A private engine with the base image, which installations that are opened meanwhile use.

    Mark what needs it with :data:`NEEDS`.
    """
    engine = PrivateEngine(data)
    with pytest.MonkeyPatch.context() as patch:
        try:
            engine.start()
            engine.take_base_image()
            patch.setenv("DOCKER_HOST", engine.host)
            yield engine
        finally:
            engine.stop()


def _make_bridge() -> None:
    _run("ip", "link", "add", "name", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", ADDRESS, "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    for table, chain, rule in ((rule[:2], rule[2], rule[3:]) for rule in RULES):
        _run("iptables", *table, "--insert", chain, *rule)


def _remove_bridge() -> None:
    for table, chain, rule in ((rule[:2], rule[2], rule[3:]) for rule in RULES):
        subprocess.run(["iptables", *table, "--delete", chain, *rule], check=False, capture_output=True)
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
