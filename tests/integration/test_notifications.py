"""On a running platform: a failed run reaches people, and logs are free of noise."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
import requests

from tests.support.receivers import Mailbox, Webhook
from tests.support.running_platform import Platform
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_failed_run_is_in_chat_and_mail_with_its_cause_and_an_absolute_link(
    platform: Platform, chat: Webhook, mail: Mailbox
) -> None:
    """The callback runs in the dag-processor, which Airflow does not tell which task failed and why."""
    wait_for(lambda: platform.ask("GET", "dags?dag_id_pattern=rides.deployment")["dags"], 120, "rides.deployment")
    run = platform.trigger("rides.deployment", {"version": "999"})
    page = f"{platform.airflow_url}/dags/rides.deployment/runs/{quote(run, safe='')}"
    log = platform.settings.home / "logs" / "dag-processor.log"
    text = wait_for(lambda: next((one for one in chat.texts if page in one), ""), 240, "the message", log)
    title, cause, link = text.splitlines()
    assert title == "rides.deployment failed"
    assert cause.startswith("Cause: choose_release: parameter 'version': there is no version 999"), cause
    assert link == f"Run: {page}"
    sent = wait_for(lambda: [one for one in mail.mails if page in one.get_body().get_content()], 60, "the mail", log)
    assert sent[0]["Subject"] == title
    assert len([one for one in chat.texts if page in one]) == len(sent) == 1


def test_the_log_of_a_task_that_runs_is_free_of_noise(platform: Platform) -> None:
    """The api-server used to ask a log server that nobody had started, and each task warned of Airflow's own code."""
    run = quote(platform.trigger("rides.retraining", {"wait": True}), safe="")
    task = f"dags/rides.retraining/dagRuns/{run}/taskInstances/degraded_health"
    wait_for(lambda: platform.ask("GET", task)["state"] in ("running", "up_for_reschedule"), 120, "the sensor")

    def log() -> str:
        said = json.dumps(platform.ask("GET", f"{task}/logs/1"))
        assert "Could not read served logs" not in said
        return said if "hold" in said else ""

    assert "GitWildMatch" not in wait_for(log, 60, "the sensor's verdict in its log")
    platform.ask("PATCH", f"dags/rides.retraining/dagRuns/{run}", json={"state": "failed"})


def test_a_runbook_opens_for_whoever_is_logged_in(platform: Platform) -> None:
    """Alerts link to it from chat and mail."""
    url = f"{platform.airflow_url}/evergreen/runbooks/DiskFilling.md"
    logged_in = {"Authorization": f"Bearer {platform.token()}"}
    assert requests.get(url, headers=logged_in, timeout=30).text.startswith("# DiskFilling")
    assert requests.get(url, timeout=30).status_code == 401
