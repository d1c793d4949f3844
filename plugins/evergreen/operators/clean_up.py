"""Remove what no model needs any more."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException

from evergreen.model_dags import readable_specs
from evergreen.run_params import params_of
from include.core.json_types import JsonObject
from include.core.run_params import HousekeepingParams


class CleanUpOperator(BaseOperator):
    """Remove old files of all models by their ``retention``; return what was freed, by kind.

    With the run's param ``dry_run``, nothing is removed, and the log lists what would be. A model whose registry or
    releases can't be read keeps everything; the task fails after the others were cleaned up.
    """

    ui_color = "#eeeeee"

    def execute(self, context: Context) -> JsonObject:
        """Clean up and return the summary."""
        from include.stages import housekeeping
        from include.stages.installation import open_installation

        dry_run = params_of(context, HousekeepingParams).dry_run
        specs, problems = readable_specs()
        now = datetime.now(UTC).replace(tzinfo=None)
        done = housekeeping.clean_up(open_installation(), specs, now, dry_run=dry_run, complete=not problems)
        summary = done.summary()
        verb = "would be freed" if dry_run else "freed"
        for kind, freed in summary["kinds"].items():
            self.log.info("%s: %d removed, %.1f MB %s", kind, freed["removed"], freed["bytes"] / 1e6, verb)
        self.log.info("%.1f MB %s", summary["bytes"] / 1e6, verb)
        if done.skipped or problems:
            kept = [f"{model}: {reason}" for model, reason in done.skipped.items()]
            raise AirflowException("Nothing was removed of these models: " + "; ".join([*problems, *kept]))
        return summary
