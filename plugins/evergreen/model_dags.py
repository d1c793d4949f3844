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
SHARD, SHARD_MODELS = "shard-", 64
"""Folders of Dag files have this before their number. Airflow parses, and stores, all Dags of a file if one has
changed; but each file costs a process of its own. So a folder has up to some 64 models."""


def spec_files() -> list[Path]:
    """The model.yaml of every model folder, sorted by name."""
    return sorted(Settings.from_environment().models.glob("*/model.yaml"))


def shard_of(model: str, models: int) -> str:
    """The folder of Dag files that has the model's Dags, if there are so many models.

    The number of folders is a power of two, so that a model rarely moves.
    """
    shards = 1 << ((models - 1) // SHARD_MODELS).bit_length() if models else 1
    return f"{SHARD}{crc32(os.fsencode(model)) % shards:02d}"


def models_to_parse(file: str) -> Iterator[ModelSpec]:
    """The models whose Dags this parse of a Dag file, ``<stage>.py``, needs: only the one being run, if it is a task's.

    Otherwise those of the file's shard, or all if its folder is none: for example in the project itself. An invalid
    model.yaml is skipped here and reported by ``dags/check_model_specs.py``, so that it affects only its own model's
    Dags.
    """
    wanted, folder = get_parsing_context().dag_id, Path(file).parent.name
    paths = spec_files()
    for path in paths:
        model = path.parent.name
        if wanted and wanted != f"{model}.{Path(file).stem}":
            continue
        if not wanted and folder.startswith(SHARD) and folder != shard_of(model, len(paths)):
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
