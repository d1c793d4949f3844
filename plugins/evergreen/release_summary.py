"""The summary of a release that deployment tasks return."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from include.core.release.release import Release


class ReleaseSummary(TypedDict):
    """A release in JSON values, for XCom."""

    revision: int
    weights: dict[str, int]
    """Version → share of traffic in percent."""
    standby: list[str]
    champion: str | None
    note: str


class PromotedRelease(ReleaseSummary):
    """The release, with the image that serves."""

    image: str | None


def release_summary(release: Release) -> ReleaseSummary:
    """The summary of a release."""
    return {
        "revision": release.revision,
        "weights": dict(release.weights),
        "standby": list(release.standby),
        "champion": release.champion,
        "note": release.note,
    }
