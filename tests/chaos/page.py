"""docs/faults.md and docs/worker-faults.md: what each fault cost, on one process tree and on Celery workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.runner import HEAD, Outcome
from tests.conftest import PROJECT

FILE, WORKERS_FILE = PROJECT / "docs" / "faults.md", PROJECT / "docs" / "worker-faults.md"
FAILED = " (failed)"
PAGE = """# Faults and what they cost

Each fault is injected into a running platform with two models in production (a regression, and a classification with a
class of its own), while clients send one request after another and repeat none. *Healed* means that every component is
healthy, both models answer, and servers, routes and releases are as desired, without a hand. *Lost* counts answered
predictions that are not in the prediction log; *retrainings* those that nobody asked for. A request may fail only when
the fault hits the process that answers it. The faults of Celery workers are in
[worker-faults.md](worker-faults.md).

Written by `make chaos WRITE=1` on a machine with {cores} cores; {passed} of {count} passed.
`make chaos FAULTS="live emptied" WRITE=1` plays some again and replaces their rows, so
rows may come from several runs.

"""
WORKERS_PAGE = """# Faults of Celery workers, PostgreSQL and Redis, and what they cost

As on [faults.md](faults.md), on the platform [celery](workers.md): two schedulers, a worker for the queue `default` and
one for `training`, and a PostgreSQL and a Redis of their own. *Away* is a server that is ended and started again after
that time.

Written by `make chaos FAULTS=--celery WRITE=1` on a machine with {cores} cores; {passed} of {count} passed.
`make chaos FAULTS="--celery Redis" WRITE=1` plays some again and replaces their rows, so
rows may come from several runs.

"""


def write_page(outcomes: Sequence[Outcome], *, whole: bool, file: Path = FILE, page: str = PAGE) -> None:
    """Write the page; unless it is the ``whole`` of them, replace their rows in it and keep the others."""
    former = "" if whole or not file.exists() else file.read_text(encoding="utf-8").partition(HEAD)[2]
    kept = former.strip().splitlines()
    rows = {_name(row): row for row in kept} | {outcome.fault.name: _row(outcome) for outcome in outcomes}
    passed = sum(FAILED not in row for row in rows.values())
    head = page.format(cores=os.cpu_count(), passed=passed, count=len(rows)) + HEAD
    file.write_text("\n".join([head, *rows.values(), ""]), encoding="utf-8")


def _row(outcome: Outcome) -> str:
    return outcome.row() if outcome.passed else outcome.row().replace(" |", f"{FAILED} |", 1)


def _name(row: str) -> str:
    return row.split("|")[1].strip().removesuffix(FAILED.strip()).strip()
