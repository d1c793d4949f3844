"""What the five DAG files share: which models to build DAGs for, and the settings that every DAG has."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import get_parsing_context
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from evergreen.notifications import notify_failure
from include.adapters.spec_file import load_spec
from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec
from include.settings import Settings

log = logging.getLogger(__name__)

_ERRORS = "include.core.errors"
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=f"{_ERRORS}.{name}", action=RetryAction.FAIL, reason=reason)
        for name, reason in {
            "RunRefusedError": "a person must correct the run's parameters",
            "DataError": "the data is wrong; the same data fails again",
            "BuildError": "the commit is wrong; it needs a new one",
            "TrainingError": "the model's own code failed; it needs a new commit",
            "ArtifactError": "the artifact is not the recorded one",
            "GateError": "a gate said no; asking again does not change its figures",
            "DeploymentConflictError": "another deployment owns the release",
        }.items()
    ]
    + [
        RetryRule(
            exception=name, action=RetryAction.RETRY, retry_delay=timedelta(seconds=5), reason="may pass by itself"
        )
        for name in ("builtins.ConnectionError", "builtins.TimeoutError", f"{_ERRORS}.PlatformError")
    ]
)


def spec_files() -> list[Path]:
    """The model.yaml of every model folder, in order of name."""
    return sorted(Settings.from_environment().models.glob("*/model.yaml"))


def models_to_parse(story: str) -> Iterator[ModelSpec]:
    """The models whose ``<model>.<story>`` DAG this parse needs: all of them, or the one being run.

    A wrong model.yaml is left out here and reported by ``dags/check_model_specs.py``, so that it takes
    down its own model's DAGs only.
    """
    wanted = get_parsing_context().dag_id
    for path in spec_files():
        if wanted and wanted != f"{path.parent.name}.{story}":
            continue
        try:
            yield load_spec(path)
        except ModelSpecError as error:
            log.warning("left out: %s", error)


def dag_settings(spec: ModelSpec, story: str, doc: str | None, **more: Any) -> dict[str, Any]:
    """Arguments of ``@dag`` for ``<model>.<story>``; ``more`` adds to them or replaces them.

    ``doc`` is the DAG file's docstring: the page that the web UI shows.
    """
    summary = (doc or "").strip().partition("\n")[0]
    return {
        "dag_id": f"{spec.name}.{story}",
        "description": f"{spec.name}: {summary}",
        "doc_md": f"{doc}\n\n---\n**{spec.name}**: {spec.description}  \nOwner: {spec.owner}",
        "tags": ["evergreen", f"model:{spec.name}", story],
        "start_date": datetime(2024, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "dagrun_timeout": timedelta(hours=6),
        "is_paused_upon_creation": False,
        "on_failure_callback": notify_failure,
        "default_args": {
            "owner": spec.owner,
            "retries": 2,
            "retry_delay": timedelta(seconds=10),
            "retry_policy": RETRY_POLICY,
            "execution_timeout": timedelta(hours=1),
        },
        **more,
    }


def spec_of(model: str) -> ModelSpec:
    """The current spec of one model; for tasks, which run long after the DAG file was parsed."""
    return load_spec(Settings.from_environment().models / model / "model.yaml")
