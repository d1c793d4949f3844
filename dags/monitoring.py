"""Measures quality, drift, data quality and service of the model's predictions, window by window.

**Starts** on the schedule `monitoring.schedule` of model.yaml, and by hand for any window. It is skipped until the
model has its first release.

A *backfill* makes one run for each scheduled time in its range; each measures the last window that had ended by then.
Measuring a window again replaces its figures.

**Steps**
1. `gather_predictions` copies new lines of the prediction log into the lake, each exactly once.
2. `measure_health` joins them with ground truth and compares them with the live version's reference (drift), with
   model.yaml and with the rows that training reads (data quality). Before ground truth arrives it estimates quality;
   afterwards it compares the estimate with the actual value. Windows that still wait for ground truth, and windows that
   received late predictions, are measured again; files that were already counted are not read again.
3. `publish_health` writes a page for each window and a history page, and updates the asset `<model>/health`.
4. `check_measurement` fails if a window could not be measured, and names it with the reason. The others were measured
   and published before.

**Makes** the health of the window in the store, which Prometheus reads (docs/monitoring.md); pages, in the web UI below
*Models* and as `reports/<model>/<window>.html` and `reports/<model>/index.html`, with the same data as JSON. The asset
`<model>/health` starts `<model>.retraining`.

### When it fails
- `gather_predictions`: read its log. A *window* of the wrong length, or one that has not begun, is refused before
  anything is gathered: trigger again with another. Otherwise the usual causes are a full disk or an unreadable
  `prediction_log/<model>/`: fix it and clear the task; no row is counted twice. Truncated or malformed lines are not
  failures: they are counted and shown on the page.
- `check_measurement` names each window that could not be measured. The usual causes: the registry lacks a file of the
  live version (look at the version in MLflow), or predictions in the lake can't be read and the part of the prediction
  log that they came from is gone. The next run measures these windows again.
- A window stays `waiting` or `partial`: ground truth is missing or unreadable. The top of the page gives the reason.
  Fix the source and run this Dag again; a window without ground truth never starts a retraining.
- A feature drifts in every window: look at its distribution on the page. If the change is real but too small to matter,
  raise `monitoring.drift_effect_at_least`; if the world has changed for good, the next retraining renews the reference.
- `publish_health`: the page cannot be written to `reports/`. Clear the task; it does not repeat the measurement.
"""

from airflow.sdk import dag

from evergreen.choices import known_choices, suggesting
from evergreen.form_param import FormParam
from evergreen.model_dags import dag_settings, models_to_parse
from evergreen.operators.check_measurement import CheckMeasurementOperator
from evergreen.operators.gather_predictions import GatherPredictionsOperator
from evergreen.operators.measure_health import MeasureHealthOperator
from evergreen.operators.publish_health import PublishHealthOperator
from evergreen.run_params import suggested_param
from include.core.spec import ModelSpec


def params(model: ModelSpec) -> dict[str, FormParam]:
    """The trigger form."""
    return {
        "window": suggesting(
            known_choices(model.name).windows,
            title="Window",
            description="The window to measure: a month (2013-05), a week (2013-W20) or a day (2013-05-17), depending "
            "on monitoring.window in model.yaml. Suggested: windows that were measured. Empty: the last window that "
            "ended before this run.",
        )
    }


def build_dag(model: ModelSpec) -> None:
    """Make the Dag ``<model>.monitoring``."""

    @dag(**dag_settings(model, "monitoring", __doc__, schedule=model.monitoring.schedule, params=params(model)))
    def monitoring() -> None:
        gathered = GatherPredictionsOperator(task_id="gather_predictions", model=model.name)
        measured = MeasureHealthOperator(
            task_id="measure_health", model=model.name, window=suggested_param("window"), gathered=gathered.output
        )
        published = PublishHealthOperator(task_id="publish_health", model=model.name, windows=measured.output)
        checked = CheckMeasurementOperator(task_id="check_measurement", model=model.name, windows=measured.output)
        published >> checked

    monitoring()


for spec in models_to_parse(__file__):
    build_dag(spec)
