"""The platform with one to a thousand models: ``python -m benchmarks.many_models``, also part of ``make bench``.

Measured are what an idle platform takes, and how fast it notices a commit and a new model. No model has been trained:
this is about Dags, specifications and watched repositories. A number of models and one of repositories as arguments
measure only these. Takes about half an hour.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote
from xmlrpc.client import Fault

import pandas as pd
import requests

from benchmarks.loop import idle_parts, parts
from include.adapters.supervisord import open_supervisor
from tests.support.real_repository import RealRepository
from tests.support.running_platform import Platform, new_platform, short_folder
from tests.support.specs import model_yaml
from tests.support.waiting import wait_for

SIZES = ((1, 1), (10, 1), (100, 5), (100, 100), (1000, 50), (1000, 1000))
"""Numbers of models and of repositories that they share."""
STAGES = 5
SECONDS = 900.0
"""The longest wait for a platform of a thousand models to be at rest."""


def measured(models: int, repositories: int) -> Iterator[tuple[str, str]]:
    """Name and result of each measurement with so many models in so many repositories."""
    size = f"{models} model(s) in {repositories} repositories"
    with _platform(models, repositories) as (platform, repository):
        yield f"{size}: from the start of the platform until all Dags are there", f"{_all_dags(platform, models):.0f} s"
        _know_commits(platform, repository, repositories, models)
        yield from idle_parts(platform.settings, size)
        files, seconds, longest = _parses(platform)
        yield (
            f"{size}: parsing and serializing all Dags, of {files} files, the longest",
            f"{seconds:.1f} s, {longest:.1f} s",
        )
        yield f"{size}: make status", f"{_seconds(lambda: platform.command('status')):.1f} s"
        first, again = (_seconds(lambda: _metrics(platform)) for _ in range(2))
        yield f"{size}: metrics page, the first time and again", f"{first:.2f} s, {again:.2f} s"
        seconds, used = _new_model(platform, repository)
        yield f"{size}: from a new model.yaml to its Dags; of a processor", f"{seconds:.0f} s; {used:.1f} s"
        yield f"{size}: from a push to the first task of ci", f"{_push_to_ci(platform, repository):.1f} s"


@contextmanager
def _platform(models: int, repositories: int) -> Iterator[tuple[Platform, RealRepository]]:
    """A platform that starts, and the repository of model 0 and of each that shares it; none can be reached yet."""
    with ExitStack() as stack:
        root = stack.enter_context(short_folder())
        platform = new_platform(root / "h")
        platform.env |= {"EVERGREEN_MODELS": str(root / "models")}
        for number in range(models):
            _write_spec(platform, number, root / f"r{number % repositories}.git")
        (root / "git").mkdir()
        repository = RealRepository(root / "git")
        stack.callback(platform.down)
        platform.up()
        yield platform, repository


def _write_spec(platform: Platform, number: int, url: Path) -> None:
    name = f"model-{number}"
    text = model_yaml(name=name, repository={"url": str(url)}, monitoring={"schedule": None})
    path = Path(platform.env["EVERGREEN_MODELS"]) / name / "model.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def _all_dags(platform: Platform, models: int) -> float:
    """Seconds from the start of Airflow, which ``up`` has just reported, until all Dags are listed."""
    begun = time.perf_counter()
    wait_for(lambda: _listed(platform) >= STAGES * models, SECONDS, "the Dags")
    return time.perf_counter() - begun


def _listed(platform: Platform, pattern: str = "model-%") -> int:
    return int(platform.ask("GET", f"dags?limit=1&dag_id_pattern={quote(pattern)}")["total_entries"])


def _know_commits(platform: Platform, repository: RealRepository, repositories: int, models: int) -> None:
    """Let all models watch a repository whose only commit they have seen: or each would run ci."""
    watchers = "select count(*) from asset_watcher where name like 'model-%_git'"
    wait_for(lambda: _airflow(platform, watchers) == [models], SECONDS, "the watchers")
    commit, headers = repository.git("rev-parse", "HEAD"), {"Authorization": f"Bearer {platform.token()}"}
    for asset in _airflow(platform, "select id from asset where name like 'model-%/commit'"):
        url = f"{platform.airflow_url}/api/v2/assets/{asset}/state-store/commit"
        requests.put(url, headers=headers, json={"value": commit}, timeout=60).raise_for_status()
    triggerer = "select max(id) from job where job_type = 'TriggererJob'"
    (before,) = _airflow(platform, triggerer)
    supervisor = open_supervisor(platform.settings.run)
    supervisor.stopProcess("triggerer")
    with suppress(Fault):  # the watchdog was faster
        supervisor.startProcess("triggerer")
    watching = f"select count(*) from trigger where triggerer_id = ({triggerer} and id > {before})"
    wait_for(lambda: _airflow(platform, watching) == [models], SECONDS, "the triggers")
    for number in range(repositories):
        link = platform.settings.home.parent / f"r{number}.git"
        if number:
            repository.git("clone", "--quiet", "--bare", str(repository.bare), str(link))
        else:
            link.symlink_to(repository.bare)


def _airflow(platform: Platform, question: str) -> list[int]:
    """The numbers in the only column of the answer of Airflow's database."""
    with closing(sqlite3.connect(platform.settings.home / "airflow" / "airflow.db", timeout=60)) as database:
        return [number for (number,) in database.execute(question)]


def _parses(platform: Platform) -> tuple[int, float, float]:
    """The number of Dag files; the sum of the seconds that Airflow's processes parsed each of them last, and the most.

    Two such processes run at once. Airflow's storing of the Dags, in its main process, comes on top.
    """
    question = "select max(last_parse_duration) from dag where not is_stale group by relative_fileloc"
    with closing(sqlite3.connect(platform.settings.home / "airflow" / "airflow.db", timeout=60)) as database:
        seconds = [duration for (duration,) in database.execute(question)]
    return len(seconds), sum(seconds), max(seconds)


def _metrics(platform: Platform) -> None:
    token = {"Authorization": f"Bearer {platform.settings.secret('prediction_token')}"}
    requests.get(f"{platform.airflow_url}/evergreen/metrics", headers=token, timeout=60).raise_for_status()


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _new_model(platform: Platform, repository: RealRepository) -> tuple[float, float]:
    """Seconds until a new model has its Dags, and how long the Dag processor was busy meanwhile."""
    before, begun = parts(platform.settings)["dag-processor"].seconds, time.perf_counter()
    number = 10**6
    _write_spec(platform, number, repository.bare.parent / "none.git")
    wait_for(lambda: _listed(platform, f"model-{number}.%") == STAGES, SECONDS, "the new model's Dags")
    return time.perf_counter() - begun, parts(platform.settings)["dag-processor"].seconds - before


def _push_to_ci(platform: Platform, repository: RealRepository) -> float:
    """Seconds from the end of a push to the start of the first task of the run that it causes."""
    repository.commit({"README.md": "Measured.\n"})
    pushed = pd.Timestamp.now(tz="UTC")

    def first_start() -> pd.Timestamp | None:
        tasks = platform.ask("GET", "dags/model-0.ci/dagRuns/~/taskInstances")["task_instances"]
        return min((pd.Timestamp(task["start_date"]) for task in tasks if task["start_date"]), default=None)

    started = wait_for(first_start, SECONDS, "the first task of ci")
    assert started is not None
    return float((started - pushed).total_seconds())


def main(*sizes: str) -> None:
    """Print each figure as a line of JSON, ``[what, figure]``."""
    for models, repositories in [tuple(map(int, sizes))] if sizes else SIZES:
        for row in measured(models, repositories):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
