"""The sections on questions to people: whether to deploy a version, and whether to retrain."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from include.core.spec.fields import SpecSection

User = Annotated[str, Field(min_length=1, max_length=128)]


class Question(SpecSection):
    """Who may answer a question, and for how long."""

    hours: float = Field(24, gt=0, le=24 * 90, description="Time to answer; without an answer, nothing is started.")
    approvers: list[User] = Field(
        default_factory=list,
        description="Ids of the Airflow users who may answer; empty: everyone who may answer required actions of the "
        "Dag.",
    )

    @model_validator(mode="after")
    def _approvers_are_listed_once(self) -> Self:
        twice = sorted({name for name in self.approvers if self.approvers.count(name) > 1})
        if twice:
            raise ValueError(f"approvers are listed twice: {', '.join(twice)}. Keep one of each")
        return self


class Approval(Question):
    """Whether a person must approve a version before its canary."""

    required: bool = Field(
        False,
        description="Whether each version waits for a person's approval between the test environment and its canary. "
        "Rollbacks never wait.",
    )
