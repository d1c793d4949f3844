"""Code shared by the five Dag files: which models to build Dags for, and the settings of every Dag."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from airflow.sdk import get_parsing_context

from evergreen.notifications import EvergreenNotifier, remember_error
from evergreen.retry_policy import RETRY_DELAYS, RETRY_POLICY
from include.adapters.spec_file import load_spec
from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec
from include.settings import Settings

log = logging.getLogger(__name__)

RUN_TIMEOUT = timedelta(hours=6)
"""The longest that a run takes, apart from waiting for people."""
WAITING_RUNS = 100
"""Active runs of a Dag that asks people: many may wait, and a rollback still starts at once."""
SHARDS = 16
"""A thousand models make some 60 in each. Airflow parses, and stores, all Dags of a file if one has changed."""
ALL_SHARDS = frozenset(f"shard-{number:02d}" for number in range(SHARDS))


def spec_files() -> list[Path]:
    """The model.yaml of every model folder, sorted by name."""
    return sorted(Settings.from_environment().models.glob("*/model.yaml"))


def shard_of(model: str) -> str:
    """The folder of Dag files that has the model's Dags; it never changes."""
    return f"shard-{crc32(os.fsencode(model)) % SHARDS:02d}"


def models_to_parse(file: str) -> Iterator[ModelSpec]:
    """The models whose Dags this parse of a Dag file, ``<stage>.py``, needs: only the one being run, if it is a task's.

    Otherwise those of the file's shard, or all if its folder is none: for example in the project itself. An invalid
    model.yaml is skipped here and reported by ``dags/check_model_specs.py``, so that it affects only its own model's
    Dags.
    """
    wanted, folder = get_parsing_context().dag_id, Path(file).parent.name
    for path in spec_files():
        model = path.parent.name
        if wanted != f"{model}.{Path(file).stem}" if wanted else folder in ALL_SHARDS and folder != shard_of(model):
            continue
        try:
            yield load_spec(path)
        except ModelSpecError as error:
            log.warning("skipped: %s", error)


def readable_specs() -> tuple[list[ModelSpec], list[str]]:
    """The specs of all models, and the errors of those that are invalid."""
    specs, problems = [], []
    for path in spec_files():
        try:
            specs.append(load_spec(path))
        except ModelSpecError as error:
            problems.append(str(error))
    return specs, problems


def dag_settings(spec: ModelSpec, stage: str, doc: str | None, **more: Any) -> dict[str, Any]:
    """Arguments of ``@dag`` for ``<model>.<stage>``; ``more`` extends or overrides them.

    ``doc`` is the Dag file's docstring, which the web UI shows.
    """
    settings = common_settings(f"{spec.name}.{stage}", spec.owner, doc)
    return {
        **settings,
        "description": f"{spec.name}: {settings['description']}",
        "doc_md": f"{doc}\n\n---\n**{spec.name}**: {spec.description}  \nOwner: {spec.owner}",
        "tags": ["evergreen", f"model:{spec.name}", stage],
        **more,
    }


def common_settings(dag_id: str, owner: str, doc: str | None) -> dict[str, Any]:
    """Arguments of ``@dag`` that every Dag has, whether it belongs to a model or not."""
    return {
        "dag_id": dag_id,
        "description": (doc or "").strip().partition("\n")[0],
        "doc_md": doc,
        "start_date": datetime(2024, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "dagrun_timeout": RUN_TIMEOUT,
        "is_paused_upon_creation": False,
        "on_failure_callback": EvergreenNotifier(),
        "default_args": {
            "owner": owner,
            "retries": len(RETRY_DELAYS),
            "retry_delay": timedelta(seconds=10),
            "retry_policy": RETRY_POLICY,
            "execution_timeout": timedelta(hours=1),
            "on_failure_callback": remember_error,
        },
    }


def spec_of(model: str) -> ModelSpec:
    """The current spec of one model, for tasks, which may run long after the Dag file was parsed."""
    return load_spec(Settings.from_environment().models / model / "model.yaml")
