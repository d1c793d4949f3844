"""Where the pages inside Airflow's web UI are, and where they link to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from include.core.trace import Key

STAGES = ("ci", "training", "deployment", "monitoring", "retraining")
"""The Dags of a model."""


@dataclass(frozen=True)
class Place:
    """The addresses of pages, below the one at which people reach Airflow."""

    airflow: str = ""
    """The path or absolute URL of Airflow's web UI, without a slash at its end; empty if it has the whole host."""
    mlflow: str = ""
    """The address of MLflow's web UI, without a slash at its end."""
    stages: tuple[str, ...] = STAGES

    @property
    def root(self) -> str:
        """The path of Evergreen's pages."""
        return f"{self.airflow}/evergreen/ui"

    def model(self, name: str) -> str:
        """A model's page."""
        return f"{self.root}/models/{_part(name)}"

    def window(self, model: str, window: str) -> str:
        """The page of one window."""
        return f"{self.model(model)}/windows/{_part(window)}"

    def incident(self, model: str, key: str) -> str:
        """The page of an incident."""
        return f"{self.model(model)}/incidents/{_part(key)}"

    def rollout(self, model: str, run: str) -> str:
        """The page of the rollout that a run of ``<model>.deployment`` made."""
        return f"{self.model(model)}/rollouts/{_part(run)}"

    def version(self, model: str, version: str) -> str:
        """MLflow's page of a version."""
        return f"{self.mlflow}/#/models/{_part(model)}/versions/{_part(version)}"

    def trace(self, key: Key) -> str:
        """The trace of one thing."""
        return f"{self.root}/trace?{urlencode({'id': key.id, 'model': key.model, 'kind': key.kind})}"

    def thing(self, key: Key) -> str:
        """The page about a thing, in Evergreen or Airflow; empty if it has none of its own."""
        match key.kind:
            case "window":
                return self.window(key.model, key.id)
            case "incident":
                return self.incident(key.model, key.id)
            case "training":
                return self.run(f"{key.model}.training", key.id)
            case "version" | "release":
                return f"{self.model(key.model)}#{key.kind}s".replace("#releases", "#rollouts")
        return ""

    def dag(self, dag: str) -> str:
        """Airflow's page of a Dag."""
        return f"{self.airflow}/dags/{_part(dag)}"

    def run(self, dag: str, run: str) -> str:
        """Airflow's page of a Dag run."""
        return f"{self.dag(dag)}/runs/{_part(run)}"

    def required_action(self, dag: str, run: str, task: str) -> str:
        """Airflow's page on which a person answers a task's question."""
        return f"{self.run(dag, run)}/tasks/{_part(task)}/required_actions"


def _part(text: str) -> str:
    return quote(text, safe="")
