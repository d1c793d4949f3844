"""The disk guard: a full disk stops new trainings, so that predictions can still be logged."""

from __future__ import annotations

from include.adapters.removal import disk_used
from include.core.errors import PlatformError
from include.core.retention import DISK_FULL
from include.settings import Settings


def refuse_when_full(settings: Settings) -> None:
    """Raise PlatformError when the disk is so full that a training must not begin; predictions go on."""
    share = disk_used(settings.home)
    if share >= DISK_FULL:
        raise PlatformError(
            f"the disk of {settings.home} is {share:.0%} full, and from {DISK_FULL:.0%} no training begins. Run "
            "evergreen.housekeeping, lower retention in model.yaml, or free space; then clear this task."
        )
