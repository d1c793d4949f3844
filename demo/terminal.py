"""Terminal output of the demo: a status line for what is in progress, and a line per event."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

PLAIN_WIDTH = 140
"""Width of the table when the output is not a terminal."""
COLOURS = {"pass": "green", "hold": "yellow", "fail": "red"}


class Terminal:
    """Rich output on a terminal, plain lines otherwise."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._started = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status = self.console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def status(self, text: str) -> None:
        """Show what is in progress; only on a terminal, where the next status replaces it."""
        if self._status:
            self._status.update(escape(text))

    def event(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        seconds = time.monotonic() - self._started
        self.console.print(f"[dim]{seconds:6.1f} s[/dim]  {escape(text)}", soft_wrap=True)

    def month(self, row: Mapping[str, Any]) -> None:
        """Print a line with the month's figures."""
        value = (
            "not measured" if row.get("value") is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        )
        colour = COLOURS.get((row.get("verdict") or {}).get("answer", ""), "white")
        seconds = time.monotonic() - self._started
        self.console.print(
            f"[dim]{seconds:6.1f} s[/dim]  [bold]{row['month']}[/bold]  version {row.get('live_version')}  "
            f"[{colour}]AUC {escape(value)}[/{colour}]  {row['seconds']:.1f} s",
            soft_wrap=True,
        )

    def summary(self, result: Mapping[str, Any], events: Mapping[str, list[str]]) -> None:
        """Print the table of results."""
        table = Table(title="Results", title_justify="left")
        for column in ("month", "live", "AUC [95%]", "v1 only*", "drifted", "policy", "action", "s"):
            table.add_column(column, justify="right" if column in ("v1 only*", "s") else "left")
        for row in result["months"]:
            answer = row["verdict"]["answer"]
            table.add_row(
                row["month"],
                f"v{row['live_version']}",
                escape(f"{figure(row['value'])} [{figure(row['low'])}, {figure(row['high'])}]"),
                figure(row["without_retraining"]),
                escape(_shortened(row["drifted"])),
                f"[{COLOURS[answer]}]{answer}[/{COLOURS[answer]}]",
                escape("; ".join(events.get(row["month"], []))),
                f"{row['seconds']:.1f}",
            )
        self.console.print(table)
        self.console.print("* AUC without retraining: version 1 on all flights of the month", style="dim")
        for retraining in result["retrainings"]:
            self.console.print(escape(_about(retraining)), soft_wrap=True)
        traffic, seconds = result["traffic"], result["seconds"]
        self.console.print(
            f"{traffic['rows']} predictions in {traffic['requests']} requests, {traffic['failed']} failed. "
            f"First release {seconds['first release']:.0f} s, {len(result['months'])} months {seconds['loop']:.0f} s "
            f"({seconds['second commit']:.0f} s of them for the second commit).",
            soft_wrap=True,
        )


def figure(value: float | None) -> str:
    """A figure with three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def _shortened(names: Sequence[str]) -> str:
    return f"{names[0]}, {len(names) - 1} more" if len(names) > 1 else "".join(names)


def _about(retraining: Mapping[str, Any]) -> str:
    text = f"{retraining['why']}: version {retraining['version']} "
    if not retraining["promoted"]:
        return f"{text}was not promoted ({retraining['verdict']})."
    months = f"in {', '.join(retraining['served'])}" if retraining["served"] else "on the holdout"
    return f"{text}replaced version {retraining['replaced']}: AUC {retraining['difference'] or 0.0:+.3f} {months}."
