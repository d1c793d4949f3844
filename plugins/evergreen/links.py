"""The buttons of Evergreen's tasks in Airflow's web UI: from a task to the page about what it worked on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from include.pages.place import Place


class ModelLink(BaseOperatorLink):
    """The page of the task's model."""

    name = "Model"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The page's address."""
        return _place().model(operator.model)


class RolloutLink(BaseOperatorLink):
    """The page of the rollout that the task's run makes."""

    name = "Rollout"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address."""
        return _place().rollout(operator.model, ti_key.run_id)


def _place() -> Place:
    """Below the path at which people reach Airflow."""
    return Place(urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/"))
