"""From health to a retraining, with a real store and the real sensor and operator."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.core.quality.figures import QualityFigure
from tests.integration.monitored_model import MonitoredModel
from tests.support.notified_runs import context_of


def test_healthy_windows_skip_the_retraining_with_the_verdict(monitored: MonitoredModel) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    monitored.month("2013-04")
    with pytest.raises(AirflowSkipException, match=r"pass: window 2013-04 is within the allowed drop"):
        monitored.ask()
    assert monitored.ask(wait=True) is False


def test_degraded_health_triggers_the_training_once(monitored: MonitoredModel) -> None:
    from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

    from evergreen.operators.trigger_training import TriggerTrainingOperator

    monitored.month("2013-03")
    monitored.month("2013-04", noise=2.0)
    with pytest.raises(AirflowSkipException, match="hold"):
        monitored.ask()
    monitored.month("2013-05", noise=2.0)
    degraded = monitored.ask()
    assert degraded.is_done
    signals = degraded.xcom_value
    assert (signals["incident"], signals["window"]) == ("late-2013-05", "2013-05")
    assert "beyond the allowed drop" in signals["reason"]

    context = context_of("late.retraining")

    def trigger() -> DagRunTriggerException:
        operator = TriggerTrainingOperator(task_id="trigger_training", model="late", degraded=signals)
        with pytest.raises(DagRunTriggerException) as raised:
            operator.execute(context)
        return raised.value

    first, second = trigger(), trigger()
    assert (first.trigger_dag_id, first.dag_run_id) == ("late.training", "incident__late-2013-05")
    assert first.dag_run_id == second.dag_run_id
    assert first.skip_when_already_exists
    assert not first.reset_dag_run
    assert first.conf == signals
    assert "late-2013-05" in first.note
    assert [incident.key for incident in monitored.store.incidents("late")] == ["late-2013-05"]
    assert monitored.ask().xcom_value["incident"] == "late-2013-05", "a lost trigger must be found again"
    monitored.monitor("2013-05")
    page = Path(monitored.health("2013-05").report).read_text()
    assert "<b>degraded</b>" in page
    assert "<code>late-2013-05</code>" in page
    monitored.month("2013-06", noise=2.0)
    with pytest.raises(AirflowSkipException, match="of 2013-05, until window 2013-06 is over"):
        monitored.ask()


def test_the_sensor_in_its_run_skips_in_place_of_failing(monitored: MonitoredModel) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from evergreen.sensors.degraded_health import DegradedHealthSensor

    sensor = DegradedHealthSensor(task_id="degraded_health", model="late")
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(get_first_reschedule_date=lambda _: None, xcom_push=pushed.__setitem__)
    context: Any = {"params": {"wait": False}, "ti": ti}
    with pytest.raises(AirflowSkipException, match="no measured window has its ground truth due"):
        sensor.execute(context)
    assert pushed["verdict"]["answer"] == "hold", "the run's note says so"


def test_an_estimate_by_itself_starts_no_retraining(monitored: MonitoredModel) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    monitored.predict("2013-05")
    monitored.monitor()
    row = monitored.health("2013-05")
    assert row.estimate is not None
    hopeless = replace(row.estimate, quality={"roc_auc": QualityFigure(0.1, 0.05, 0.15, 300)})
    monitored.store.record_health("late", replace(row, estimate=hopeless))
    with pytest.raises(AirflowSkipException, match="hold"):
        monitored.ask()


def test_a_bad_window_of_a_version_that_was_replaced_holds_wherever_the_policy_is_asked(
    monitored: MonitoredModel,
) -> None:
    """Sensor, page of the window, history page and metrics say the same; the demo asks as the sensor does."""
    from airflow.sdk.exceptions import AirflowSkipException

    from include.observability.exposition import Exposition
    from include.observability.health_metrics import add_model
    from include.stages.retraining import decide

    monitored.month("2013-04", noise=2.0)
    monitored.predict("2013-05", noise=2.0)
    monitored.truth_arrives("2013-05")
    monitored.release("2")  # live, and not measured yet
    monitored.monitor("2013-05")
    reason = "version 2 serves now and has not been measured yet"
    with pytest.raises(AirflowSkipException, match=reason):
        monitored.ask()
    folder = monitored.home / "reports" / "late"
    for page in ("2013-05.html", "index.html"):
        assert "<b>hold</b>: roc_auc of version 1 is beyond" in (folder / page).read_text(), page
        assert reason in (folder / page).read_text()
    metrics = Exposition()
    add_model(metrics, monitored.spec, monitored.store, decide(monitored.installation, monitored.spec))
    assert b'evergreen_policy_verdict{answer="hold",model="late"} 1.0' in metrics.page()
