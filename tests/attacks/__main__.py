"""``python -m tests.attacks``: play all attacks on the engine process, and on docker where an engine responds.

Prints a table. Exit code 1 if one reached its target. Run it as root and as an ordinary user: both must hold.
"""

from __future__ import annotations

import getpass
import sys
import tempfile
from pathlib import Path

from include.adapters.engines.process.confinement import isolation
from include.embedded.__main__ import CONFINEMENT
from tests.attacks.runner import confined, contained, play, target
from tests.support.needs import missing


def main() -> int:
    """Play and print; returns the exit code."""
    outcomes: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="eg-") as folder:
        place = Path(folder)
        with target(place / "home") as aimed:
            outcomes["process"] = play(aimed, place / "process", confined(aimed, place))
        reason = missing("docker")
        if reason:
            print(f"engine docker: not played. {reason}")
        else:
            from include.adapters.engines.docker.client import DockerHost
            from include.settings import Settings

            with target(place / "home2") as aimed:
                host = DockerHost(Settings(home=place / "docker"))
                outcomes["docker"] = play(aimed, place / "docker" / "jobs", contained(host))
    print(f"as {getpass.getuser()}; the engine process confines by {CONFINEMENT[isolation()]}\n")
    print("| attack | " + " | ".join(outcomes) + " |\n|---|" + "---|" * len(outcomes))
    for name in outcomes["process"]:
        print(f"| {name} | " + " | ".join(found[name] or "refused" for found in outcomes.values()) + " |")
    escapes = sum(bool(reached) for found in outcomes.values() for reached in found.values())
    print(f"\n{sum(map(len, outcomes.values()))} attacks, {escapes} reached their target")
    return 1 if escapes else 0


if __name__ == "__main__":
    sys.exit(main())
