"""What tasks return for others to read, as JSON values in XCom."""

from __future__ import annotations

from typing import TypedDict

from include.core.json_types import JsonObject


class BuiltEnvironment(TypedDict):
    """What BuildEnvironmentOperator returns."""

    build_id: str
    environment: str
    """Hash of the lock, or the image that has the environment."""
    cached: bool
    seconds: float


class SnapshotSummary(TypedDict):
    """What TakeSnapshotOperator returns."""

    hash: str
    window: str
    """The newest of its windows."""
    rows: int
    windows: list[str]


class Degradation(TypedDict):
    """What DegradedHealthSensor returns: the incident to open, with the policy's reason and figures."""

    incident: str
    window: str
    reason: str
    signals: JsonObject
