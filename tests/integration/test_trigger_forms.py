"""The trigger forms of all Dags in a real browser, on a running platform with two models that are not the example.

``late`` is monthly, was released twice, its versions were refused by promotion, and its repository is missing;
``rides`` is weekly, a regression, was never released, and has a repository whose commits lack a lock file; ``tides``
has a build that passed. So no run lasts, and each has one clear end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from docs.pictures import browser, log_in
from docs.pictures import wait_for as wait_for_element
from include.adapters.registry import Registry
from include.core.build import Build, CheckReport
from include.core.choices import SEPARATOR
from include.stages.choices import ALL_PARTS, renew_choices
from tests.integration.monitored_model import MonitoredModel
from tests.support.real_repository import RealRepository
from tests.support.running_platform import Platform
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600), pytest.mark.needs("browser")]


@dataclass(frozen=True)
class Suggested:
    """The text that a field suggests for a value."""

    value: str


Filled = dict[str, str | bool | Suggested]


@dataclass
class Person:
    """Someone at Airflow's web UI: opens a Dag's page, fills in the trigger form, and submits it."""

    platform: Platform
    driver: Any
    monitored: MonitoredModel
    seen: dict[str, str] = field(default_factory=dict)
    """Run id → text of the form that started it."""
    snapshots: set[Path] = field(default_factory=set)
    """Those of the two models before any form was submitted."""

    def trigger(self, dag: str, fill: Filled | None = None) -> str:
        """Fill in these fields of the Dag's form and submit it; returns the id of the run that this started."""
        before = set(self.runs(dag))
        self.driver.get(f"{self.platform.airflow_url}/dags/{dag}")
        wait_for_element(self.driver, "[data-testid=trigger-dag-button]").click()
        wait_for_element(self.driver, f"{FORM} [data-part=item-content]")
        for name, value in (fill or {}).items():
            self.fill(name, value)
        form = self.driver.find_element("css selector", FORM).text
        button = self.driver.find_element("css selector", f"{FORM} [data-testid=trigger-dag-submit]")
        wait_for(button.is_enabled, 10, f"the button Trigger of {dag}; it is grey: {form}")
        button.click()
        (run,) = wait_for(lambda: set(self.runs(dag)) - before, 30, f"the run of {dag}; the form says: {form}")
        self.seen[run] = form
        return str(run)

    def fill(self, name: str, value: str | bool | Suggested) -> None:
        field = f"{FORM} [name=element_{name}]"
        if isinstance(value, Suggested):
            element = self.driver.find_element("css selector", field)
            options = self.driver.execute_script("return [...arguments[0].list.options].map(one => one.value)", element)
            element.send_keys(next(text for text in options if text.startswith(value.value + SEPARATOR)))
        elif isinstance(value, bool):
            self.driver.execute_script("arguments[0].click()", self.driver.find_element("css selector", field))
        elif name == "parameters":
            editor = wait_for_element(self.driver, f"{FORM} #element_parameters .view-lines")
            keys = ActionChains(self.driver).click(editor).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
            keys.send_keys(value)  # the editor closes quotes and brackets by itself: what is left of that goes
            keys.key_down(Keys.SHIFT).send_keys(Keys.END).key_up(Keys.SHIFT).send_keys(Keys.DELETE).perform()
            wait_for(lambda: "".join(editor.text.split()) == value, 10, f"the editor to show {value}")
        else:
            self.driver.find_element("css selector", field).send_keys(value)

    def runs(self, dag: str) -> dict[str, dict[str, Any]]:
        """The Dag's runs by hand, by id; ci has others, which its watcher starts."""
        found = self.platform.ask("GET", f"dags/{dag}/dagRuns?run_type=manual")["dag_runs"]
        return {run["dag_run_id"]: run for run in found}

    def end(self, dag: str, run: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """State of the run when it has ended, and its tasks by name."""
        state = self.platform.wait(dag, run, 240)
        found = self.platform.ask("GET", f"dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances")
        return state, {task["task_id"]: task for task in found["task_instances"]}

    def log(self, dag: str, run: str, task: str) -> str:
        """The log of the task's first try."""
        path = f"dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances/{task}/logs/1?full_content=true"
        return json.dumps(self.platform.ask("GET", path)["content"], ensure_ascii=False)


FORM = "[data-scope=dialog][data-part=content]"
UNTOUCHED = {
    "late.ci": ("check_out", "failed", "repository"),
    "late.training": ("take_snapshot", "failed", "no build has passed yet"),
    "late.deployment": ("choose_release", "failed", "no version has been promoted yet"),
    "late.monitoring": ("publish_health", "success", ""),
    "late.retraining": ("degraded_health", "skipped", ""),
    "rides.ci": ("build_environment", "failed", "requirements"),
    "rides.training": ("take_snapshot", "failed", "no build has passed yet"),
    "rides.deployment": ("choose_release", "failed", "no version has been promoted yet"),
    "rides.monitoring": ("gather_predictions", "skipped", ""),
    "rides.retraining": ("degraded_health", "skipped", ""),
    "evergreen.housekeeping": ("clean_up", "success", "MB freed"),
}
"""Dag → the task that an untouched form's run is decided by, its state, and a word of its log."""
FILLED: dict[str, tuple[str, Filled, str, str, str]] = {
    "a ref": ("rides.ci", {"ref": "v1"}, "check_out", "success", "{v1}"),
    "a ref that is not there": ("rides.ci", {"ref": "v2", "again": True}, "check_out", "failed", "v2"),
    "a window with spaces": ("late.monitoring", {"window": "  2013-02 "}, "measure_health", "success", "late 2013-02:"),
    "a window of another grain": (
        "rides.monitoring", {"window": "2013-05"}, "gather_predictions", "failed", "Write it like '2013-W20'",
    ),
    "an object": (
        "late.training", {"parameters": '{"depth":3}', "build": "x-1"}, "take_snapshot", "failed", "no build 'x-1'",
    ),
    "a dry run": ("evergreen.housekeeping", {"dry_run": True}, "clean_up", "success", "MB would be freed"),
    "a rollback to a version": (
        "late.deployment", {"version": "3", "rollback": True}, "choose_release", "failed", "contradict each other",
    ),
    "a suggested version that promotion refused": (
        "late.deployment", {"version": Suggested("3")}, "choose_release", "failed",
        "version 3 did not pass promotion (hold: worse",
    ),
    "a refused version by force": (
        "late.deployment", {"version": Suggested("3"), "force": True}, "choose_release", "success",
        "version 3 is deployed although promotion refused it: hold: worse",
    ),
    "a target without a rollback": (
        "late.deployment", {"to": Suggested("1")}, "choose_release", "failed", "'to' needs 'rollback'",
    ),
    "a rollback to a suggested release": (
        "late.deployment", {"rollback": True, "to": Suggested("1")}, "choose_release", "success", "",
    ),
    "an unknown parameter with a suggested build": (
        "tides.training", {"build": Suggested("good-1"), "parameters": '{"nope":1}'}, "take_snapshot", "failed",
        "no parameter 'nope' (it has: depth, rate)",
    ),
}  # fmt: skip
"""Dag, what is filled in, the task that reads it, its state, and a word of its log."""


@pytest.fixture(scope="module")
def person(platform: Platform, monitored_on_platform: MonitoredModel) -> Iterator[Person]:
    with browser(1440, 1400) as driver:
        log_in(driver, platform.settings)
        yield Person(platform, driver, monitored_on_platform)


@pytest.fixture(scope="module")
def commit(person: Person) -> str:
    """The commit with the tag v1 in the repository of ``rides``; the branch main is one ahead of it."""
    bare = person.platform.settings.home / "repositories" / "rides.git"
    folder = person.platform.settings.home / "git"
    folder.mkdir()
    repository = RealRepository(folder)
    first = repository.commit({"model.py": "def estimator():\n    return None\n"})
    repository.git("push", "--quiet", str(repository.bare), f"{first}:refs/tags/v1")
    repository.commit({"model.py": "def estimator():\n    return 1\n"})
    bare.parent.mkdir(exist_ok=True)
    repository.bare.rename(bare)
    return first


@pytest.fixture(scope="module")
def suggestions(person: Person) -> None:
    """Versions 2 and 3, refused by promotion, a second release, and a build; Airflow has parsed the Dags with them."""
    settings = person.platform.settings
    here = replace(person.monitored.installation, registry=Registry(settings))
    for number in ("2", "3"):  # there is a copy of version 1
        bundle = settings.home.parent / "bundles" / number
        bundle.mkdir(parents=True)
        (bundle / "model.skops").write_text(number)
        (bundle / "lineage.json").write_text("{}")
        tags = {"verdict": "hold", "verdict_reason": "worse"}
        more: dict[str, Any] = {"metrics": {}, "parameters": {}, "tags": tags, "description": "refused"}
        assert here.registry.register("late", bundle, candidate=number, **more) == number
    before = here.store.release("late", "production")
    here.store.swap_release(before, before.promote("2", "test"))
    contract: CheckReport = {"answer": "pass", "reason": "", "parameters": {"names": ["depth", "rate"], "any": False}}
    run = "manual__2013-05-17T10:00:00+00:00"
    here.store.record_build(Build("tides", "good-1", "a" * 40, "e", "passed", {"check_contract": contract}, run))
    renew_choices(here, "late", *ALL_PARTS)
    renew_choices(here, "tides", *ALL_PARTS)
    for dag, name in (("late.deployment", "version"), ("late.deployment", "to"), ("tides.training", "build")):
        wait_for(lambda: suggested(person, dag, name), 240, f"the suggestions for {name} of {dag}")  # noqa: B023


def suggested(person: Person, dag: str, name: str) -> Any:
    """What Airflow knows to suggest for a field."""
    return person.platform.ask("GET", f"dags/{dag}/details")["params"][name]["schema"].get("examples")


def snapshots(person: Person) -> set[Path]:
    """The snapshots that the models have."""
    folder = person.platform.settings.lake / "snapshots"
    return {path for model in ("late", "rides", "tides") for path in (folder / model).rglob("*")}


@pytest.fixture(scope="module")
def submitted(person: Person, commit: str, suggestions: None) -> dict[str, str]:
    """All forms, submitted one after another, so that the runs go on beside the next form; name → run."""
    person.snapshots = snapshots(person)
    runs = {dag: person.trigger(dag) for dag in UNTOUCHED}
    return runs | {name: person.trigger(dag, fill) for name, (dag, fill, *_) in FILLED.items()}


@pytest.mark.parametrize("dag", UNTOUCHED)
def test_an_untouched_form_can_be_submitted_and_its_run_ends_clearly(
    person: Person, submitted: dict[str, str], dag: Any
) -> None:
    task, expected, said = UNTOUCHED[dag]
    state, tasks = person.end(dag, submitted[dag])
    log = person.log(dag, submitted[dag], task)
    assert (state, tasks[task]["state"]) == ("failed" if expected == "failed" else "success", expected), log
    assert tasks[task]["try_number"] == 1, log
    assert said in log
    assert "emplate" not in log, "an empty field must not be an error of the template"
    assert "None" not in person.seen[submitted[dag]]
    assert "Error" not in person.seen[submitted[dag]]


@pytest.mark.parametrize("name", FILLED)
def test_what_is_filled_in_is_what_the_run_gets(
    person: Person, submitted: dict[str, str], commit: str, name: Any
) -> None:
    dag, fill, task, expected, said = FILLED[name]
    run = submitted[name]
    conf = person.runs(dag)[run]["conf"]
    sent = {key: json.loads(str(value)) if key == "parameters" else value for key, value in fill.items()}
    taken = {
        key: Suggested(str(conf[key]).partition(SEPARATOR)[0]) if isinstance(value, Suggested) else conf[key]
        for key, value in sent.items()
    }
    assert taken == sent
    state, tasks = person.end(dag, run)
    log = person.log(dag, run, task)
    assert (tasks[task]["state"], tasks[task]["try_number"]) == (expected, 1), log
    assert said.replace("{v1}", commit) in log
    if expected == "failed":
        assert state == "failed"


def test_production_is_as_it_was_but_for_the_rollback(person: Person, submitted: dict[str, str]) -> None:
    for name in ("late.deployment", "a rollback to a version"):
        _, tasks = person.end("late.deployment", submitted[name])
        assert tasks["settle"]["state"] == "skipped"
        assert tasks["clear_test"]["state"] == "success"
        assert tasks["roll_back"]["state"] == "upstream_failed"
    run = submitted["a rollback to a suggested release"]
    person.end("late.deployment", run)
    history = person.monitored.store.release_history("late")
    notes = [recorded.release.note for recorded in history]
    assert notes[1:] == ["test", f"rolled back to 1 by hand in {run}"], "only the rollback, once, however often retried"
    assert history[-1].release.champion == "1"
    assert person.monitored.health("2013-02").window == "2013-02"
    assert snapshots(person) == person.snapshots, "a refused training must take none"


@pytest.mark.parametrize(
    ("story", "conf"),
    [
        ("ci", {"again": "yes"}),
        ("training", {"parameters": [1]}),
        ("training", {"window": 201305}),
        ("deployment", {"rollback": "true"}),
        ("deployment", {"version": 3}),
        ("monitoring", {"window": ["2013-05"]}),
        ("retraining", {"wait": 1}),
    ],
)
def test_a_value_of_another_type_is_refused_before_there_is_a_run(person: Person, story: str, conf: Any) -> None:
    platform = person.platform
    answer = requests.post(
        f"{platform.airflow_url}/api/v2/dags/rides.{story}/dagRuns",
        headers={"Authorization": f"Bearer {platform.token()}"},
        json={"logical_date": None, "conf": conf},
        timeout=30,
    )
    assert answer.status_code == 400
    assert next(iter(conf)) in answer.text
