"""The verdict of a gate: data, promotion, canary, degradation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from include.core.json_types import JsonObject, Signals

Answer = Literal["pass", "hold", "fail"]


@dataclass(frozen=True)
class Verdict:
    """A gate's answer, its reason, and the figures it is based on.

    A missing or too small measurement is never a pass: it is a hold if waiting can help, and a fail otherwise.
    """

    answer: Answer
    reason: str
    signals: Signals = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the answer is pass (a hold is not)."""
        return self.answer == "pass"

    def as_dict(self) -> JsonObject:
        """A plain dict of JSON values, for XCom, reports and tags."""
        return {"answer": self.answer, "reason": self.reason, "signals": dict(self.signals)}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Verdict:
        """The verdict that was written with :meth:`as_dict`."""
        return cls(values["answer"], values["reason"], values["signals"])

    def __str__(self) -> str:
        figures = ", ".join(f"{name}={_short(value)}" for name, value in self.signals.items())
        return f"{self.answer}: {self.reason}" + (f" ({figures})" if figures else "")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
