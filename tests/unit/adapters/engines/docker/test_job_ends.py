"""When a job in a container is over, and what of it can't be measured: a container that ends says so a moment later."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from include.adapters.engines.docker import job


class Ending:
    """A container that runs for so many looks at its state; ``du`` in it prints this."""

    def __init__(self, looks: int, measured: bytes) -> None:
        self.looks, self.measured, self.killed = looks, measured, False
        self.attrs = {"State": {"StartedAt": datetime.now(UTC).isoformat()}}

    @property
    def status(self) -> str:
        return "running" if self.looks > 0 else "exited"

    def reload(self) -> None:
        self.looks -= 1

    def exec_run(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(output=self.measured)

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float) -> None:
        self.looks = 0


@pytest.mark.parametrize(
    ("looks", "measured", "limit"),
    [
        (3, b"", None),
        (3, b"12\t/work\n", None),
        (3, b"101\t/work\n", "disk"),
        (1000, b"", "disk"),
        (1000, b"du: can't read\n", "disk"),
    ],
    ids=["it was ending", "it fits", "it does not fit", "it is never measured", "it prints no number"],
)
def test_only_what_is_too_much_or_is_never_measured_is_ended(
    monkeypatch: pytest.MonkeyPatch, looks: int, measured: bytes, limit: str | None
) -> None:
    """A check of a tenth of a second was refused for its disk: it had ended while it was measured."""
    monkeypatch.setattr(job, "UNMEASURED_SECONDS", 0.0)
    container: Any = Ending(looks, measured)
    assert job._await_end(container, 30.0, "/work", disk_mb=100) == limit
    assert container.killed == (limit is not None)
