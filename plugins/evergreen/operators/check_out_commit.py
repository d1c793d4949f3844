"""Check out exactly one commit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from evergreen.assets import model_asset
from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.run_params import CiParams


class CheckOutCommitOperator(BaseOperator):
    """Find the commit that this run is for, and put its files into a clean folder.

    The commit is the run's param ``ref``, else the one that the Git trigger saw, else the newest of the spec's branch.
    Returns ``{"commit"}``. A commit or repository that is not there fails at once; an unreachable one is retried.

    :param model: name of the model.
    """

    ui_color = "#e3ecf7"

    def __init__(self, *, model: str, **arguments: Any):
        super().__init__(multiple_outputs=True, **arguments)
        self.model = model

    def execute(self, context: Any) -> dict[str, Any]:
        from include.adapters.engines.environments import checkout_folder
        from include.adapters.git import check_out, resolve_commit

        params = params_of(context, CiParams)
        repository = spec_of(self.model).repository
        commit = resolve_commit(repository, params.ref or self._seen_commit(context))
        check_out(repository, commit, checkout_folder(self.model, commit))
        self.log.info("%s at commit %s", repository.url, commit)
        return {"commit": commit}

    def _seen_commit(self, context: Any) -> str:
        events = context.get("triggering_asset_events") or {}
        watched = model_asset(self.model, "commit")
        found = [event for asset, several in events.items() if asset.name == watched.name for event in several]
        if not found:
            return ""
        newest = max(found, key=lambda event: event.timestamp)
        return str((newest.extra or {}).get("payload", {}).get("commit", ""))
