"""The same Dags on two Celery workers, PostgreSQL and Redis: the whole loop, and the faults of these parts.

``make chaos FAULTS=--celery`` plays all of them (docs/worker-faults.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.embedded import processes
from tests.chaos.chain import play_round, strict_spec
from tests.chaos.faults import Fault
from tests.chaos.place import MODELS, Place, celery_place
from tests.chaos.runner import play
from tests.chaos.worker_faults import SHORT_WORKER_FAULTS
from tests.support.database_servers import PASSWORD, QUOTED
from tests.support.running_platform import short_folder
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.needs("database_servers")]

PARTS = ("scheduler", "scheduler-2", "worker-1", "worker-2", "database", "broker")


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with short_folder() as root, celery_place(root, Path(request.config.cache.mkdir("environments"))) as made:
        yield made


def test_status_names_workers_and_servers_and_nothing_shows_their_passwords(place: Place) -> None:
    done = place.platform.command("status", "--json")
    assert done.returncode == 0, done.stdout
    parts = {part["name"]: part for part in json.loads(done.stdout)["parts"]}
    assert {name: parts[name]["problem"] for name in PARTS} == dict.fromkeys(PARTS)
    commands = [" ".join(process.cmdline()) for process in processes.of_installation(place.platform.settings)]
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in (place.home / "logs").glob("*.log")]
    for text in (done.stdout, place.platform.command("status").stdout, *commands, *logs):
        assert PASSWORD not in text
        assert QUOTED not in text


@pytest.mark.parametrize("fault", SHORT_WORKER_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_heals_by_itself(place: Place, fault: Fault) -> None:
    (outcome,) = play(place, [fault])
    assert outcome.passed, outcome


def test_the_loop_from_a_degraded_month_to_the_version_that_was_trained_for_it(place: Place) -> None:
    before = place.installation.store.release(place.cell.name, "production").champion
    trainings = place.trainings()
    with strict_spec(place), place.traffic() as traffic:
        play_round(place, "2013-07", worse_by=1_000.0)
    assert set(traffic.answered) <= place.logged()
    assert place.trainings() == trainings + 1
    assert place.installation.store.release(place.cell.name, "production").champion != before


def test_a_training_waits_in_its_own_queue(place: Place) -> None:
    runs = place.platform.ask("GET", f"dags/{MODELS[0].name}.training/dagRuns?order_by=-id&limit=1")["dag_runs"]
    path = f"dags/{MODELS[0].name}.training/dagRuns/{runs[0]['dag_run_id'].replace('+', '%2B')}/taskInstances"
    queues = {task["task_id"]: task["queue"] for task in place.platform.ask("GET", path)["task_instances"]}
    assert {task for task, queue in queues.items() if queue == "training"} == {"train_candidate"}
    assert set(queues.values()) == {"default", "training"}


def test_an_event_that_came_while_a_dag_was_paused_starts_a_run_when_it_is_resumed(place: Place) -> None:
    """The question for such events, which tests of the shared platform ask SQLite, in PostgreSQL."""
    name, ask = MODELS[0].name, place.platform.ask
    dag = f"{name}.retraining"

    def runs() -> int:
        return int(ask("GET", f"dags/{dag}/dagRuns?run_type=asset_triggered&limit=1")["total_entries"])

    (asset,) = ask("GET", f"assets?uri_pattern=evergreen://{name}/health")["assets"]
    ask("PATCH", f"dags/{dag}", json={"is_paused": True})
    before = runs()
    ask("POST", "assets/events", json={"asset_id": asset["id"], "extra": {}})
    ask("PATCH", f"dags/{dag}", json={"is_paused": False})
    wait_for(lambda: runs() == before + 1, 60, f"the run of {dag}")
