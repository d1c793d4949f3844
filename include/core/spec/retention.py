"""The section on what is kept and for how long."""

from __future__ import annotations

from pydantic import Field

from include.core.spec.fields import SpecSection


class Retention(SpecSection):
    """What ``evergreen.housekeeping`` removes. Never what a release, lineage of a kept version or an incident needs."""

    log_days: int = Field(
        30, ge=1, description="Days that a file of the prediction log is kept after it was gathered into the lake."
    )
    window_days: int = Field(
        730,
        ge=60,
        description="Days that the gathered predictions of a window and its report are kept, after its end and "
        "after they were last written.",
    )
    versions: int = Field(
        10,
        ge=2,
        description="How many of the newest versions keep their build, environment, snapshot and local copy, besides "
        "those in a release. Older ones stay registered in MLflow; to deploy one again, run ci for its commit.",
    )
