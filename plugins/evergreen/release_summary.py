"""The summary of a release that deployment tasks return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.core.json_types import JsonObject

if TYPE_CHECKING:
    from include.core.release.release import Release


def release_summary(release: Release) -> JsonObject:
    """Revision, traffic weights, standby versions, champion and note, as JSON values for XCom."""
    return {
        "revision": release.revision,
        "weights": dict(release.weights),
        "standby": list(release.standby),
        "champion": release.champion,
        "note": release.note,
    }
