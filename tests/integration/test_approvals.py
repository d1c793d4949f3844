"""On a running platform, people are asked about the model ``cabs``: they read the evidence in a browser, and answer.

No server of the model is started: the tasks before the question are marked as success while the Dag is paused. So each
run is at its question within seconds, and what is between an answer and the canary is the gate alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from docs.pictures import browser, log_in
from docs.pictures import wait_for as wait_for_element
from include.adapters.registry import Registry
from include.core.approval import newest_approval
from include.core.candidate import CandidateRecord
from include.core.verdict import Verdict
from include.stages.installation import Installation, open_installation
from tests.integration.conftest import ASKING
from tests.integration.monitored_model import MonitoredModel
from tests.support.health_rows import health_row
from tests.support.receivers import Webhook
from tests.support.running_platform import Platform
from tests.support.specs import spec_values
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DEPLOYMENT, RETRAINING = "cabs.deployment", "cabs.retraining"
MARKED = ("choose_release", "deploy_to_test", "verify_in_test")
EVIL = "[free rides](https://evil.example) <img src=x onerror=alert(1)> https://evil.example/x"


@dataclass
class Cabs:
    """The model, and what people do with its runs."""

    platform: Platform
    here: Installation

    def set_question(self, **question: Any) -> None:
        """Change deployment.approval in model.yaml; the runs that ask later follow it."""
        described = ASKING | {"deployment": {"approval": {"required": True, **question}}}
        path = Path(self.platform.env["EVERGREEN_MODELS"], "cabs", "model.yaml")
        path.write_text(yaml.safe_dump(spec_values(**described)), encoding="utf-8")

    def pause(self, *, paused: bool) -> None:
        self.platform.ask("PATCH", f"dags/{DEPLOYMENT}", json={"is_paused": paused})

    def deploy(self, *more: str) -> str:
        """A run of the paused Dag that has chosen version 1, and whose next tasks are marked as success."""
        run = self.platform.trigger(DEPLOYMENT, {"version": "1"})
        states = {**dict.fromkeys((*MARKED, *more), "success"), "roll_back": "skipped"}
        for task, state in states.items():
            self.platform.ask("PATCH", self.task(DEPLOYMENT, run, task), json={"new_state": state})
        chosen = {"key": "version", "value": "1"}
        self.platform.ask("POST", f"{self.task(DEPLOYMENT, run, 'choose_release')}/xcomEntries", json=chosen)
        return run

    def task(self, dag: str, run: str, task: str) -> str:
        return f"dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/{task}"

    def state(self, dag: str, run: str, task: str) -> str:
        return str(self.platform.ask("GET", self.task(dag, run, task))["state"])

    def waits(self, dag: str, run: str, task: str) -> None:
        """Wait until the run has asked, and the scheduler has noticed the end of the process that did.

        Airflow 3.3.2 takes an answer in the second between the two for a crash, and the task asks again.
        """
        ended = ("success", "failed", "skipped", "upstream_failed")

        def asked() -> int:
            found = self.platform.ask("GET", self.task(dag, run, task))
            assert found["state"] not in ended, found["state"]
            return int(found["try_number"]) if found["state"] == "awaiting_input" else 0

        number = wait_for(asked, 60, f"the question of {run}")
        log = self.platform.settings.home / "logs" / "scheduler.log"
        noticed = f"executor event with state success for task instance.*task_id='{task}', run_id='{re.escape(run)}'"
        noticed += f", try_number={number}"
        wait_for(lambda: re.search(noticed, log.read_text(encoding="utf-8", errors="replace")), 30, f"a line {noticed}")

    def answer(self, dag: str, run: str, task: str, chosen: str, user: str = "", remark: str = "") -> requests.Response:
        """Answer as the admin, or as another user."""
        return requests.patch(
            f"{self.platform.airflow_url}/api/v2/{self.task(dag, run, task)}/-1/hitlDetails",
            headers={"Authorization": f"Bearer {self.token(user)}"},
            json={"chosen_options": [chosen], "params_input": {"remark": remark} if remark else {}},
            timeout=30,
        )

    def token(self, user: str) -> str:
        """A token of the admin, or of a user whose name begins with the role, such as ``viewer-eve``."""
        from airflow.api_fastapi.auth.tokens import JWTGenerator

        if not user:
            return self.platform.token()
        secret = self.platform.settings.secret("jwt_secret")
        signed = JWTGenerator(secret_key=secret, valid_for=600, audience="apache-airflow")
        return signed.generate({"sub": user, "role": user.partition("-")[0], "teams": []})

    def verdict(self, run: str) -> Verdict:
        check = newest_approval(self.here.store.rollout_checks("cabs", run), run)
        assert check is not None
        return check.verdict

    def note(self, dag: str, run: str) -> str:
        return str(self.platform.ask("GET", f"dags/{dag}/dagRuns/{quote(run, safe='')}")["note"])


@pytest.fixture(scope="module")
def cabs(platform: Platform, monitored_on_platform: MonitoredModel) -> Cabs:
    """Version 1, trained for a reason that means harm, and with nothing in production."""
    here = open_installation(platform.settings)
    bundle = platform.settings.home.parent / "bundles" / "cabs"
    bundle.mkdir(parents=True)
    (bundle / "model.skops").write_text("cabs")
    (bundle / "lineage.json").write_text("{}")
    tags = {"verdict": "pass", "verdict_reason": "first"}
    more: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": tags, "description": "made for a test"}
    assert Registry(platform.settings).register("cabs", bundle, candidate="1", **more) == "1"
    record = CandidateRecord(
        "1", Verdict("pass", "first model: there is no champion"), "c" * 40, "b", "s", "2013-05", "by hand", EVIL, "",
        "roc_auc", 0.8125, 0.8, 0.83,
    )  # fmt: skip
    here.store.record_candidate("cabs", record)
    return Cabs(platform, here)


@pytest.fixture(scope="module")
def runs(cabs: Cabs) -> Iterator[dict[str, str]]:
    """Name → run; all but the marked one are at their question, and the time of one of them is running out."""
    cabs.pause(paused=True)
    found = {name: cabs.deploy() for name in ("approve", "reject")}
    found["marked"] = cabs.deploy("approve_release")
    cabs.pause(paused=False)
    for name in ("approve", "reject"):
        cabs.waits(DEPLOYMENT, found[name], "approve_release")
    for name, question in (("overdue", {"hours": 0.0005}), ("assigned", {"approvers": ["user-ann", "viewer-eve"]})):
        cabs.set_question(**question)
        cabs.pause(paused=True)
        found[name] = cabs.deploy()
        cabs.pause(paused=False)
        cabs.waits(DEPLOYMENT, found[name], "approve_release")
    cabs.set_question()
    yield found
    now = cabs.here.store.release("cabs", "production")
    if now.rollout:
        cabs.here.store.swap_release(now, now.abandon("the tests are over"))


@pytest.fixture(scope="module")
def driver(platform: Platform) -> Iterator[Any]:
    with browser(1440, 1400) as found:
        log_in(found, platform.settings)
        yield found


def open_question(cabs: Cabs, driver: Any, run: str) -> str:
    """Follow the link on the rollout's page to where people answer; returns what the question says."""
    page = f"{cabs.platform.airflow_url}/evergreen/ui/models/cabs/rollouts/{quote(run, safe='')}"
    driver.get(page)
    said = wait_for_element(driver, ".outcome").text
    assert said.startswith("Version 1 waits for an answer until 20"), said
    wait_for_element(driver, ".notice a[data-airflow]").click()
    button = wait_for_element(driver, "[data-testid=hitl-option-Approve]")
    wait_for(button.is_enabled, 30, "the button Approve")
    return str(driver.find_element("tag name", "body").text)


def answer_in_browser(driver: Any, chosen: str, remark: str) -> None:
    driver.find_element("css selector", "[name=element_remark]").send_keys(remark)
    driver.find_element("css selector", f"[data-testid=hitl-option-{chosen}]").click()


def test_a_run_whose_question_was_marked_as_answered_gives_no_traffic(cabs: Cabs, runs: dict[str, str]) -> None:
    assert cabs.platform.wait(DEPLOYMENT, runs["marked"], 60) == "failed"
    assert cabs.state(DEPLOYMENT, runs["marked"], "start_canary") == "failed"
    log = cabs.platform.ask("GET", f"{cabs.task(DEPLOYMENT, runs['marked'], 'start_canary')}/logs/1")
    assert "gets no traffic without an approval" in str(log["content"])


@pytest.mark.parametrize(("user", "status"), [("viewer-eve", 403), ("op-bob", 403), ("", 403), ("user-ann", 200)])
def test_only_who_is_assigned_and_may_answer_does(cabs: Cabs, runs: dict[str, str], user: str, status: int) -> None:
    answer = cabs.answer(DEPLOYMENT, runs["assigned"], "approve_release", "Reject", user, "not before monday")
    assert answer.status_code == status, answer.text


@pytest.mark.needs("browser")
def test_somebody_reads_the_evidence_and_rejects(cabs: Cabs, runs: dict[str, str], driver: Any) -> None:
    said = open_question(cabs, driver, runs["reject"])
    assert "Deploy version 1 of cabs?" in said
    assert "On its holdout: roc_auc 0.8125 (0.8 to 0.83)" in said
    assert EVIL in said, "the reason is shown as it is"
    assert driver.find_elements("css selector", "a[href*='evil.example'], img[src=x]") == []
    answer_in_browser(driver, "Reject", "too risky")
    assert cabs.platform.wait(DEPLOYMENT, runs["reject"], 60) == "success"
    reason = "rejected by admin: too risky"
    assert cabs.verdict(runs["reject"]).reason == reason
    assert reason in cabs.note(DEPLOYMENT, runs["reject"])
    assert cabs.state(DEPLOYMENT, runs["reject"], "start_canary") == "skipped"


@pytest.mark.needs("browser")
def test_somebody_approves_with_a_remark_and_the_canary_begins(cabs: Cabs, runs: dict[str, str], driver: Any) -> None:
    open_question(cabs, driver, runs["approve"])
    answer_in_browser(driver, "Approve", "looks good")

    def begun() -> bool:
        rollout = cabs.here.store.release("cabs", "production").rollout
        return bool(rollout and rollout.is_of(runs["approve"]))

    wait_for(begun, 60, "the canary")
    assert cabs.verdict(runs["approve"]).reason == "approved by admin: looks good"


def test_a_person_who_is_assigned_has_answered(cabs: Cabs, runs: dict[str, str]) -> None:
    assert cabs.platform.wait(DEPLOYMENT, runs["assigned"], 60) == "success"
    assert cabs.verdict(runs["assigned"]).reason == "rejected by user-ann: not before monday"


def test_without_an_answer_the_run_is_red_and_people_are_notified(
    cabs: Cabs, runs: dict[str, str], chat: Webhook
) -> None:
    run = runs["overdue"]
    assert cabs.platform.wait(DEPLOYMENT, run, 90) == "failed"
    assert cabs.verdict(run).reason == "nobody answered within 0.0005 h"
    page = f"{cabs.platform.airflow_url}/dags/{DEPLOYMENT}/runs/{quote(run, safe='')}"
    wait_for(lambda: len([text for text in chat.texts if page in text]) > 1, 90, "both messages")
    asked, failed = (text for text in chat.texts if page in text)
    assert asked.splitlines() == [
        "cabs version 1: approval wanted",
        "Cause: it has passed the test environment",
        f"Answer: {page}/tasks/approve_release/required_actions",
    ]
    assert failed.splitlines()[0] == "cabs.deployment failed, version 1"
    assert "nobody answered" in failed


def test_an_incident_is_asked_about_rejected_cleared_and_approved(cabs: Cabs) -> None:
    for window in ("2013-04", "2013-05"):
        cabs.here.store.record_health("cabs", health_row(window, 0.5, n=5000))
    run, task = cabs.platform.trigger(RETRAINING), "approve_retraining"
    cabs.waits(RETRAINING, run, task)
    assert cabs.answer(RETRAINING, run, task, "Approve", "viewer-eve").status_code == 403
    assert cabs.answer(RETRAINING, run, task, "Reject", remark="holidays").ok
    assert cabs.platform.wait(RETRAINING, run, 60) == "success"
    assert cabs.state(RETRAINING, run, "trigger_training") == "skipped"
    assert "no training for incident cabs-2013-05, rejected by admin: holidays" in cabs.note(RETRAINING, run)
    another = cabs.platform.trigger(RETRAINING)
    assert cabs.platform.wait(RETRAINING, another, 60) == "success"
    assert cabs.state(RETRAINING, another, task) == "skipped"
    cleared = {
        "dry_run": False,
        "dag_run_id": run,
        "task_ids": [task],
        "include_downstream": True,
        "only_failed": False,
    }
    cabs.platform.ask("POST", f"dags/{RETRAINING}/clearTaskInstances", json=cleared)
    cabs.waits(RETRAINING, run, task)
    assert cabs.answer(RETRAINING, run, task, "Approve", "user-ann", "go on").ok
    assert cabs.platform.wait(RETRAINING, run, 60) == "success"
    assert cabs.state(RETRAINING, run, "trigger_training") == "success"
    trainings = cabs.platform.ask("GET", "dags/cabs.training/dagRuns")["dag_runs"]
    assert [each["dag_run_id"] for each in trainings] == ["incident__cabs-2013-05"]
    assert [event.sentence for event in cabs.here.store.incident_events("cabs")][1:] == [
        "rejected by admin: holidays",
        cabs.here.store.incident_events("cabs")[0].sentence,
        "approved by user-ann: go on",
    ]
