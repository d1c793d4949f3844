"""Measures what became of the model's predictions: quality, drift, missing values and service, by window.

**Starts** by the schedule `monitoring.schedule` of model.yaml, and by hand for any window. Skipped while nothing of the
model was ever released.

**Steps**
1. `gather_predictions` moves new lines of the prediction log into the lake, each once.
2. `measure_health` joins them with truth and compares them with the live version's reference (drift), with model.yaml
   and with the rows that training reads (data quality). Where truth has not come, it estimates quality; once it has, it
   compares. Windows that wait for truth, and windows that late predictions came for, are measured again; parts of a
   window that were counted before are not read again.
3. `publish_health` writes a page for each window and one of all, and tells the asset `<model>/health`.

**Makes** the health of the window in the store, from where Prometheus gets it (docs/monitoring.md),
`reports/<model>/<window>.html` with a JSON beside it, and `reports/<model>/index.html`. `<model>.retraining` looks at
the health next.

### When it fails
* `gather_predictions`: read its log. A *window* of another grain, or one that has not begun, is refused before anything
  is gathered: trigger again with another. Else mostly the disk is full or `prediction_log/<model>/` can't be read: put
  it right and clear the task; nothing counts twice. Torn last lines and broken lines are not failures: they are counted
  and shown on the page.
* `measure_health` with an ArtifactError or PlatformError: the registry lacks the live version's `profile.json` or
  `metrics.json`. Look at the version in MLflow.
* A window that stays `waiting` or `partial`: truth has not come, or can't be read. The page names the reason at its
  top. Put the truth right and run this DAG again; a window without truth never starts a retraining.
* A feature drifts in every window: look at the shares on the page. If the change is real but small, raise
  `monitoring.drift_effect_at_least`; if the world has changed for good, the next retraining renews the reference.
* `publish_health`: the page can't be written to `reports/`. Clear the task; it measures nothing.
"""

from airflow.sdk import Param, dag

from evergreen.model_dags import dag_settings, models_to_parse
from evergreen.operators.gather_predictions import GatherPredictionsOperator
from evergreen.operators.measure_health import MeasureHealthOperator
from evergreen.operators.publish_health import PublishHealthOperator
from evergreen.run_params import text_param

WINDOW = Param(
    None,
    type=["null", "string"],
    title="Window",
    description="Window to measure, such as 2013-05, 2013-W20 or 2013-05-17, as monitoring.window of model.yaml says. "
    "Empty: the one that ended last before this run.",
)


def build_dag(model):
    @dag(**dag_settings(model, "monitoring", __doc__, schedule=model.monitoring.schedule, params={"window": WINDOW}))
    def monitoring():
        gathered = GatherPredictionsOperator(task_id="gather_predictions", model=model.name)
        measured = MeasureHealthOperator(
            task_id="measure_health", model=model.name, window=text_param("window"), gathered=gathered.output
        )
        PublishHealthOperator(task_id="publish_health", model=model.name, windows=measured.output)

    return monitoring()


for spec in models_to_parse("monitoring"):
    build_dag(spec)
