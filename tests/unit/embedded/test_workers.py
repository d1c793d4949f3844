"""Workers and schedulers of the platform ``celery``: what one setting says, and how supervisord runs them."""

import configparser
from dataclasses import replace
from pathlib import Path

import pytest

from include.core.errors import PlatformError
from include.embedded.components import commands, supervisor_config
from include.embedded.workers import QUEUES, Worker, worker_commands, worker_problems, workers
from include.settings import Settings

pytestmark = pytest.mark.integration

CELERY = Settings(
    platform="celery", database_url="postgresql://me:secret@db/evergreen", broker_url="redis://:secret@127.0.0.1:1/0"
)


def test_the_default_lets_no_long_fit_hold_up_other_tasks() -> None:
    first, second = workers(CELERY)
    assert (first, second) == (Worker("worker-1", ("default",), 4), Worker("worker-2", ("training",), 1))


def test_one_setting_says_how_many_workers_there_are_and_what_they_do() -> None:
    found = workers(replace(CELERY, workers="default,training:2 default:8  training:1"))
    assert [(one.name, one.queues, one.tasks) for one in found] == [
        ("worker-1", QUEUES, 2),
        ("worker-2", ("default",), 8),
        ("worker-3", ("training",), 1),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default:4", "no worker for the queue 'training', so its tasks would wait for ever"),
        ("training:1", "no worker for the queue 'default'"),
        ("", "no worker for the queue 'default' and 'training'"),
        ("default:4 training", "'training' is not <queue>"),
        ("default:0 training:1", "'default:0' is not <queue>.*for example"),
        ("default:-1 training:1", "'default:-1' is not"),
        ("default:4 training:many", "'training:many' is not"),
        ("default:4;training:1", "'default:4;training:1' is not"),
        ("default:4 training:1 gpu:1", "no task waits in the queue 'gpu'. The queues are 'default' and 'training'"),
    ],
)
def test_workers_that_can_not_be_are_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(PlatformError, match=f"EVERGREEN_WORKERS.*{message}"):
        workers(replace(CELERY, workers=text))


def test_the_local_platform_has_no_workers_whatever_is_set() -> None:
    assert workers(Settings(workers="nonsense")) == []
    assert worker_problems(Settings()) == {}


def test_schedulers_share_the_work_on_postgresql_only() -> None:
    assert {"scheduler", "scheduler-2", "scheduler-3"} <= set(commands(replace(CELERY, schedulers=3)))
    with pytest.raises(PlatformError, match="EVERGREEN_SCHEDULERS=2 needs EVERGREEN_PLATFORM=celery"):
        commands(Settings(schedulers=2))
    with pytest.raises(PlatformError, match="EVERGREEN_SCHEDULERS=0 must be 1 or more"):
        commands(replace(CELERY, schedulers=0))


def test_a_workers_tasks_are_not_ended_with_it(tmp_path: Path) -> None:
    """supervisord would send the signal to the whole group, and end tasks at once."""
    config = configparser.RawConfigParser()
    config.read_string(supervisor_config(replace(CELERY, home=tmp_path)))
    assert config["program:worker-1"]["stopasgroup"] == "false"
    assert config["program:worker-1"]["killasgroup"] == "true", "what has not ended in time must not stay"
    assert config["program:scheduler"]["stopasgroup"] == "true"


def test_no_command_line_shows_a_password() -> None:
    assert "secret" not in " ".join(commands(CELERY).values())
    assert worker_commands(CELERY).keys() == {"worker-1", "worker-2"}


def test_workers_that_can_not_be_asked_are_not_healthy() -> None:
    problems = worker_problems(CELERY)
    assert set(problems) == {"worker-1", "worker-2"}
    assert all("the broker does not respond" in str(problem) for problem in problems.values())
