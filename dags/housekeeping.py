"""Removes what is old and no longer needed, every night.

**Starts** every night, or by hand with *Trigger*: tick *Dry run* to see in the log what would be removed.

A *backfill* is of no use here: each of its runs removes what is old now, as one run by hand does.

**Steps**
1. `clean_up` removes, for every model and by `retention` in its model.yaml: files of the prediction log that are in the
   lake, old windows of predictions with their reports, folders of candidates, builds, environments, snapshots and local
   copies of versions that are neither new nor in a release.

**Makes** room. The task's log lists each file; its result has the sum of each kind.

It never removes what serves or is on standby, what a kept version was made of, windows of incidents or those that the
policy judges, predictions that were not gathered, and anything that was used in the last seven days. Versions stay
registered in MLflow with their artifacts.

### When it fails
- *Nothing was removed of these models*: their registry, releases or model.yaml could not be read; the message says why.
  The other models were cleaned up, but nothing that models share. Correct what it names, then clear the task.
- The disk is still filling: the alert DiskFilling has a page with the largest folders.
"""

from airflow.sdk import dag

from evergreen.form_param import FormParam
from evergreen.model_dags import common_settings
from evergreen.operators.clean_up import CleanUpOperator

PARAMS = {
    "dry_run": FormParam(
        False,
        type=["boolean", "null"],
        title="Dry run",
        description="Remove nothing; list in the log what would be removed.",
    )
}


@dag(
    **common_settings("evergreen.housekeeping", "evergreen", __doc__),
    tags=["evergreen", "housekeeping"],
    schedule="0 3 * * *",
    params=PARAMS,
)
def housekeeping() -> None:
    """One task, since what models share is known only when all have been looked at."""
    CleanUpOperator(task_id="clean_up")


housekeeping()
