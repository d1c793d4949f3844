"""Check out exactly one commit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.assets import model_asset
from evergreen.model_task import CI, ModelTask
from evergreen.run_params import params_of
from include.core.json_types import JsonObject
from include.core.run_params import CiParams


class CheckOutCommitOperator(ModelTask):
    """Find the commit that this run is for, and put its files into a clean folder.

    The commit is the run's param ``ref``, else the one that the Git trigger saw, else the newest of the spec's branch.
    Returns ``{"commit"}``. A commit or repository that is not there fails at once; an unreachable one is retried.

    :param model: name of the model.
    """

    ui_color = CI

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def execute(self, context: Context) -> JsonObject:
        """Resolve the commit and check it out."""
        from include.stages import ci

        spec, params = self.spec, params_of(context, CiParams)
        commit = ci.check_out_commit(self.installation, spec, params.ref or self._seen_commit(context))
        self.log.info("%s at commit %s", spec.repository.url, commit)
        return {"commit": commit}

    def _seen_commit(self, context: Any) -> str:
        events = context.get("triggering_asset_events") or {}
        watched = model_asset(self.model, "commit")
        found = [event for asset, several in events.items() if asset.name == watched.name for event in several]
        if not found:
            return ""
        newest = max(found, key=lambda event: event.timestamp)
        return str((newest.extra or {}).get("payload", {}).get("commit", ""))
