"""Builds and candidates: the facts that later stages need about what earlier ones made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Build:
    """A commit whose checks ran, with the environment that was built for it."""

    model: str
    build_id: str
    """``<commit, 12 digits>-<environment, 8 digits>``."""
    commit: str
    environment: str
    """Hash of the full lock that the environment was made from, or the image (digest or id) that has it."""
    status: Literal["passed", "failed"]
    report: Mapping[str, Any] = field(default_factory=dict)
    """Per check: answer, reason, seconds, file of its full output."""
    run_id: str = ""
    """DAG run of ``<model>.ci`` that made it."""

    def as_dict(self) -> dict[str, Any]:
        """The fields, in JSON types."""
        return asdict(self)
