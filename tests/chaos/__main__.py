"""``python -m tests.chaos [words of a fault's name ...]``: play the faults and print what each cost.

``--skip=20`` begins after the first 20, ``--short`` plays the few of ``.ci/run``, ``--write`` writes docs/faults.md, or
only the rows of the faults that were named,
``--chain`` only kills every task from a degraded window to the new release, which all faults together end with;
``--celery`` plays the faults of workers, PostgreSQL and Redis on the platform ``celery`` (docs/worker-faults.md).
Exit code 1 if something needed a hand, was lost, or was trained twice.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.chain import play_chain
from tests.chaos.faults import FAULTS, SHORT
from tests.chaos.page import FILE, PAGE, WORKERS_FILE, WORKERS_PAGE, write_page
from tests.chaos.place import celery_place, chaos_place
from tests.chaos.runner import HEAD, play
from tests.chaos.worker_faults import WORKER_FAULTS
from tests.support.running_platform import short_folder


def main(arguments: list[str]) -> int:
    """Play the chosen faults: all, those of ``.ci/run`` with ``--short``, or those whose names contain a word."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the platform is stopped
    words = [word for word in arguments if not word.startswith("--")]
    skipped = next((int(word.partition("=")[2]) for word in arguments if word.startswith("--skip=")), 0)
    celery = "--celery" in arguments
    chosen = SHORT if "--short" in arguments else (WORKER_FAULTS if celery else FAULTS)[skipped:]
    chosen = [fault for fault in chosen if not words or any(word in fault.name for word in words)]
    if "--chain" in arguments:
        chosen = []
    print(HEAD, flush=True)
    outcomes = []
    with short_folder() as root:
        environments = Path(tempfile.gettempdir()) / f"evergreen-chaos-environments-{os.getuid()}"
        environments.mkdir(mode=0o700, exist_ok=True)
        with (celery_place if celery else chaos_place)(root, environments) as place:
            for outcome in play(place, chosen):
                outcomes.append(outcome)
                print(outcome.row(), "" if outcome.passed else "  <-- FAILED", flush=True)
            if "--chain" in arguments or not (words or celery or "--short" in arguments):
                outcomes.append(play_chain(place))
                print(outcomes[-1].row(), "" if outcomes[-1].passed else "  <-- FAILED", flush=True)
    passed = sum(outcome.passed for outcome in outcomes)
    print(f"{passed} of {len(outcomes)} faults passed", flush=True)
    if "--write" in arguments:
        file, page = (WORKERS_FILE, WORKERS_PAGE) if celery else (FILE, PAGE)
        whole = not (words or skipped or {"--chain", "--short"} & {*arguments})
        write_page(outcomes, whole=whole, file=file, page=page)
    return 0 if passed == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
