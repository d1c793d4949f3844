"""``make trust``: how often the gates say what they should, by simulation and on real flights.

Each row gives the nominal rate, what the plain rule gives (rows drawn one by one, a point against a point), and what
the default gives. Seeds are fixed. ``make trust WRITE=1`` writes docs/trust.md; words choose some of the parts.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.trust import canary, drift, estimates, policy, promotion
from benchmarks.trust.table import REPEATS, Row
from include.settings import PROJECT

PAGE = """# How far the gates can be trusted

A candidate replaces the champion only if it is shown to be better on rows that neither has seen. *Shown* means that the
lower bound of the 95 % interval of the difference lies above `promotion.improvement`: of candidates that are exactly as
good as the champion, 2.5 % should seem better. That holds only if the interval knows which rows depend on each other.
Flights of one day share their weather, so a hundred of them say less than a hundred flights of a hundred days.
`data.dependence` in model.yaml says which rows belong together: those of one `day` (the default), those with the same
value of a feature, or `none`. Intervals then draw whole blocks of rows, and are wider the fewer blocks there are.

What it costs: a real improvement needs more days to be shown. `training.holdout_days` should be two weeks or more where
days differ; rows of a single day promote nothing.

Drift is judged in the same way: a window is reported if it differs from the training data by more than runs of as many
days of that data differ from the rest of it. The price is that a change within what the seasons do is not found.

A retraining starts if the live version is worse than its reference by more than `degradation.drop` and by more than
chance explains ([how](monitoring.md#when-health-is-bad-enough)). Its table has the incidents a year of a model that
does not change, which `degradation.confidence` bounds, and how soon a real drop is found: AUC 0.7, 2,000 rows a window,
a drop of 0.03 allowed, 2 of 3 windows, without a budget. *Flights' spread*: windows and holdouts of a model that does
not change vary as real ones do, by the standard deviation of real months, weeks, days and fortnights. *Flights' own*
draws the real windows, neighbours together, with a dip of three weeks in autumn among them, which is more than spread:
a year of weeks then has it about once.

Written by `make trust WRITE=1`: {repeats} repetitions of each simulation of promotion, and simulated years of
retraining ({years}), on {cores} cores in {minutes:.0f} minutes.

{tables}
"""
HEAD = "| what | nominal | {without} | {found} |\n|---|---|---|---|"
PARTS: dict[str, tuple[str, str, Callable[[], Iterator[Row]]]] = {
    "Promotion": ("rows one by one", "by `data.dependence`", promotion.rows),
    "Canary": ("shares and distributions", "sequential tests, same rows", canary.rows),
    "Estimates before ground truth": ("chance in labels", "measured errors", estimates.rows),
    "Retraining": ("each drop counts", "default", policy.rows),
    "Drift": ("rows one by one", "by `data.dependence`", drift.rows),
}
"""A title for each part, the headings of its last two columns, and what gives its rows."""


def main(arguments: Sequence[str]) -> None:
    """Print the tables line by line; write the page on request."""
    words = [word.lower() for word in arguments if not word.startswith("--")]
    if words and "--write" in arguments:
        raise SystemExit("docs/trust.md has all parts: leave out PART, or WRITE=1.")
    began, tables = time.monotonic(), []
    for title, (without, found, rows) in PARTS.items():
        if words and not any(word in title.lower() for word in words):
            continue
        lines = [f"## {title}", "", HEAD.format(without=without, found=found)]
        print(*lines, sep="\n", flush=True)
        for row in rows():
            lines.append(str(row))
            print(row, flush=True)
        tables.append("\n".join(lines))
    if "--write" in arguments:
        minutes = (time.monotonic() - began) / 60
        years = ", ".join(f"{count} with {policy.NAMES[grain]} windows" for grain, count in policy.YEARS.items())
        text = PAGE.format(
            years=years, repeats=REPEATS, cores=os.cpu_count(), minutes=minutes, tables="\n\n".join(tables)
        )
        (PROJECT / "docs" / "trust.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
