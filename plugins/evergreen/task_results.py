"""What tasks return for others to read, as JSON values in XCom."""

from __future__ import annotations

from typing import TypedDict

from include.core.health.record import Incident
from include.core.json_types import JsonObject
from include.core.verdict import Verdict


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


def incident_of(degraded: Degradation) -> Incident:
    """The incident that a degradation opens."""
    return Incident(degraded["incident"], degraded["window"], Verdict("fail", degraded["reason"], degraded["signals"]))
