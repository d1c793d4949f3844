"""Plays faults one after another, and says for each what it cost and whether it healed by itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from tests.chaos.faults import Fault
from tests.chaos.place import MODELS, WELL_SECONDS, Place
from tests.support.traffic import Traffic
from tests.support.waiting import wait_for

RUN_SECONDS = 900.0
DAGS = {"training": "training", "canary": "deployment", "monitoring": "monitoring"}


@dataclass(frozen=True)
class Outcome:
    """What a fault cost."""

    fault: Fault
    seconds: float
    """From the fault until everything was well again."""
    answered: int
    failed: int
    lost: int
    """Answered predictions that are not in the log."""
    retrainings: int
    """Training runs that nobody started."""
    problem: str = ""
    """What did not heal; empty if everything did."""

    @property
    def passed(self) -> bool:
        """Healed by itself, nothing lost, nothing trained twice, and no request failed for want of a reason."""
        return not self.problem and not self.lost and not self.retrainings and (self.fault.serves or not self.failed)

    def row(self) -> str:
        """A row of the table in docs/faults.md."""
        healed = f"{self.seconds:.0f} s" if not self.problem else f"**no**: {self.problem}"
        return (
            f"| {self.fault.name} | {self.fault.stage} | {healed} | {self.answered} | {self.failed} | {self.lost} | "
            f"{self.retrainings} |"
        )


HEAD = "| fault | meanwhile | healed after | answered | failed | lost | retrainings |\n|---|---|---|---|---|---|---|"


def play(place: Place, faults: Iterable[Fault]) -> Iterator[Outcome]:
    """Play the faults; a fault that did not heal is put right with ``make up`` before the next one."""
    for fault in faults:
        outcome = _play(place, fault)
        yield outcome
        if outcome.problem:
            place.platform.command("up")
            place.settle()


def _play(place: Place, fault: Fault) -> Outcome:
    place.before = {}
    trainings = place.trainings()
    problem = ""
    with place.traffic() as traffic:
        _await_answers(traffic)
        if fault.stage in DAGS:
            _start_run(place, fault.stage)
            trainings = place.trainings()
        start = time.monotonic()
        try:
            fault.inject(place)
            if place.before:
                _await_run(place)
            place.settle()
            seconds = time.monotonic() - start - WELL_SECONDS
            _await_answers(traffic)
            _await_quiet(traffic)
        except Exception as error:  # whatever was broken is what this fault did not heal from
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
            seconds = time.monotonic() - start
    return Outcome(
        fault,
        seconds,
        answered=len(traffic.answered),
        failed=len(traffic.failures),
        lost=len(set(traffic.answered) - place.logged()),
        retrainings=place.trainings() - trainings,
        problem=problem,
    )


def _start_run(place: Place, stage: str) -> None:
    """Start the run that the fault is to hit."""
    name = place.cell.name
    dag_id = f"{name}.{DAGS[stage]}"
    conf: dict[str, object] = {}
    if stage == "canary":
        conf = {"version": _another_version(place), "force": True}  # promotion may have found it no better
    elif stage == "monitoring":
        conf = {"window": "2013-06"}
    place.before = {"dag": dag_id, "run": place.platform.trigger(dag_id, conf), "conf": conf}


def _another_version(place: Place) -> str:
    """The newest version that is not in production; trained first if there is none."""
    name, here = place.cell.name, place.installation
    if len(here.registry.versions(name)) < 2:
        run_id = place.platform.trigger(f"{name}.training")
        assert place.platform.wait(f"{name}.training", run_id, RUN_SECONDS) == "success"
        _await_deployments(place)
    champion = here.store.release(name, "production").champion
    others = [str(v.version) for v in here.registry.versions(name) if str(v.version) != champion]
    return max(others, key=int)


def _await_run(place: Place) -> None:
    """Wait for the run's end, and for what it should have led to."""
    dag_id, run_id = place.before["dag"], place.before["run"]

    def state() -> str | None:
        try:
            found = place.platform.ask("GET", f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"]
        except Exception:  # the api-server is away
            return None
        return found if found in ("success", "failed") else None

    ended = wait_for(state, RUN_SECONDS, f"the end of {dag_id}")
    assert ended == "success", f"{dag_id} ended as {ended}"
    version = place.before["conf"].get("version")
    if version:
        release = place.installation.store.release(place.cell.name, "production")
        assert (release.champion, release.rollout) == (version, None), f"production is at {release.champion}"
    if dag_id.endswith(".training"):
        _await_deployments(place)


def _await_deployments(place: Place) -> None:
    """Wait until no deployment runs, which a training may have started."""
    path = f"dags/{place.cell.name}.deployment/dagRuns?state=running&state=queued"
    wait_for(lambda: place.platform.ask("GET", path)["total_entries"] == 0, RUN_SECONDS, "the deployment's end")


def _await_answers(traffic: Traffic) -> None:
    """Each model has answered since now."""
    count = len(traffic.answered)
    wait_for(lambda: len(traffic.answered) > count + 5 * len(MODELS), 120, "answers")


def _await_quiet(traffic: Traffic) -> None:
    """Requests no longer fail."""
    since, failed = time.monotonic(), len(traffic.failures)

    def quiet() -> bool:
        nonlocal since, failed
        if len(traffic.failures) != failed:
            since, failed = time.monotonic(), len(traffic.failures)
        return time.monotonic() - since > 1.0

    wait_for(quiet, 60, "requests to be answered again")
