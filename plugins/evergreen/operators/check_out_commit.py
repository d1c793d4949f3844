"""Check out exactly one commit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from evergreen.assets import model_asset
from evergreen.model_task import CI, ModelTask
from evergreen.run_params import params_of
from include.core.run_params import CiParams


class CheckOutCommitOperator(ModelTask):
    """Resolve the commit that this run is for, and check out its files into a clean folder.

    The commit is the run's param ``ref``, else the Git trigger's commit, else the head of the spec's branch.
    Returns ``{"commit", "author"}``, without an unknown author. A missing commit or repository fails immediately; an
    unreachable repository is retried.

    :param model: name of the model.
    """

    ui_color = CI

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def execute(self, context: Context) -> dict[str, str]:
        """Resolve the commit and check it out."""
        from include.adapters.engines.environments import checkout_folder
        from include.adapters.git import author_of
        from include.stages import ci

        spec, params = self.spec, params_of(context, CiParams)
        commit = ci.check_out_commit(self.installation, spec, params.ref or self._seen_commit(context))
        self.log.info("%s at commit %s", spec.repository.url, commit)
        author = author_of(checkout_folder(self.installation.settings, self.model, commit))
        return {"commit": commit, **({"author": author} if author else {})}

    def _seen_commit(self, context: Any) -> str:
        events = context.get("triggering_asset_events") or {}
        watched = model_asset(self.model, "commit")
        seen = [event for asset, several in events.items() if asset.name == watched.name for event in several]
        if not seen:
            return ""
        newest = max(seen, key=lambda event: event.timestamp)
        return str((newest.extra or {}).get("payload", {}).get("commit", ""))
