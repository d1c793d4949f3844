"""The pages about models in Airflow's real api-server: who may see and do what, and what a person sees in a browser."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from docs.pictures import browser, wait_for
from tests.integration.shown_models import MODELS, TOO_SLOW, fill
from tests.support.api_server import ROLES, ApiServer, api_server, password
from tests.support.page_layout import WIDTHS, cut_off, narrow
from tests.support.running_platform import short_folder
from tests.support.waiting import wait_for as wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

UI = "/evergreen/ui"
PAGES = {
    "models": f"{UI}/models",
    "fares": f"{UI}/models/fares",
    "tab of a Dag": f"{UI}/dags/fares.training",
    "window": f"{UI}/models/fares/windows/2013-W15",
    "waiting window": f"{UI}/models/fares/windows/2013-W18",
    "incident": f"{UI}/models/fares/incidents/fares-2013-W15",
    "rollout": f"{UI}/models/fares/rollouts/fourth%2Frun",
    "waiting rollout": f"{UI}/models/fares/rollouts/fifth%2Frun",
    "hostile model": f"{UI}/models/churn",
    "hostile window": f"{UI}/models/churn/windows/2013-05",
    "hostile incident": f"{UI}/models/churn/incidents/churn-2013-05",
    "hostile rollout": f"{UI}/models/churn/rollouts/one",
    "new model": f"{UI}/models/fresh",
    "trace": f"{UI}/trace",
    "trace of a commit": f"{UI}/trace/0123456789ab",
    "trace of an incident": f"{UI}/trace?id=churn-2013-05&model=churn&kind=incident",
}
ACTIONS: dict[str, tuple[dict[str, str], str, dict[str, Any]]] = {
    "deploy": ({"value": "3", "ticked": "true"}, "deployment", {"version": "3", "force": True}),
    "roll_back": ({"value": "1"}, "deployment", {"rollback": True, "to": "1", "version": None}),
    "retrain": ({"value": "the fares were raised"}, "training", {"reason": "the fares were raised"}),
    "check": ({"value": " fix-#12 "}, "ci", {"ref": "fix-#12"}),
    "measure": ({"value": ""}, "monitoring", {"window": None}),
}
"""Action → what the form sends, the stage whose Dag it starts, and that run's parameters."""


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with short_folder() as home, api_server(home, MODELS) as running:
        fill(running.store)
        yield running


@pytest.mark.parametrize("page", [*PAGES.values(), f"{UI}/static/page.js", "/evergreen/metrics"])
def test_nobody_gets_in_without_a_name(server: ApiServer, page: str) -> None:
    assert server.ask("", "GET", page).status_code == 401
    assert server.ask("", "GET", page, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)


def test_a_trace_has_a_short_address(server: ApiServer) -> None:
    assert server.ask("", "GET", "/evergreen/trace/0123456789ab").status_code == 401
    answer = server.ask("viewer", "GET", "/evergreen/trace/late/3?kind=version")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{UI}/trace?kind=version&id=late%2F3")


def test_a_person_without_a_name_is_led_to_the_log_in(server: ApiServer) -> None:
    answer = server.ask("", "GET", PAGES["fares"], headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert 'href="/auth/login?next=%2Fevergreen%2Fui%2Fmodels%2Ffares"' in answer.text


@pytest.mark.parametrize("user", ROLES)
@pytest.mark.parametrize("page", PAGES)
def test_every_role_may_look(server: ApiServer, user: str, page: str) -> None:
    answer = server.ask(user, "GET", PAGES[page])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'self'" in policy
    loaded = re.sub(r'<a href="https?://[^"]*" data-outside', "", answer.text)  # only a click follows these
    assert not re.search(r"(src|href)=\"(https?:)?//", loaded), "it asks for something outside"
    assert "<script>document" not in answer.text and "<img src=x" not in answer.text


@pytest.mark.parametrize("user", ["", *ROLES])
def test_actions_are_dag_runs_with_the_rights_of_who_asks(server: ApiServer, user: str) -> None:
    for action, (form, stage, conf) in ACTIONS.items():
        dag = f"fares.{stage}"
        before = {run["dag_run_id"] for run in server.runs(dag)}
        answer = server.ask(user, "POST", f"{UI}/models/fares/actions", data={"action": action, **form})
        started = [run for run in server.runs(dag) if run["dag_run_id"] not in before]
        if user in ("", "viewer"):
            assert answer.status_code == (403 if user else 401), answer.text
            assert started == []
        else:
            assert answer.status_code == 303, answer.text
            assert answer.headers["location"].startswith(f"{UI}/models/fares?dag={dag}&run=")
            (run,) = started
            assert {name: run["conf"].get(name) for name in conf} == conf
            assert run["note"] == f"Started by {user} from the page of fares."


def test_what_airflow_refuses_is_said_on_the_page(server: ApiServer) -> None:
    answer = server.ask("viewer", "POST", f"{UI}/models/fares/actions", data={"action": "retrain"})
    assert "Airflow refused (403)" in answer.text
    assert "not start its Dags" in answer.text
    assert 'name="action"' not in answer.text, "it offers what it would refuse"


def test_pausing_stops_what_starts_by_itself_and_resuming_lets_it_go_on(server: ApiServer) -> None:
    def paused() -> set[bool]:
        dags = server.ask("admin", "GET", "/api/v2/dags?tags=model:churn").json()["dags"]
        return {dag["is_paused"] for dag in dags}

    for action, expected in (("pause", True), ("resume", False)):
        assert server.ask("viewer", "POST", f"{UI}/models/churn/actions", data={"action": action}).status_code == 403
        assert paused() == {not expected}
        assert server.ask("op", "POST", f"{UI}/models/churn/actions", data={"action": action}).status_code == 303
        assert paused() == {expected}
        shown = server.ask("op", "GET", f"{UI}/models/churn").text
        assert ("Resume automation" in shown) is expected


@pytest.mark.parametrize("user", ["", *ROLES])
def test_an_incident_is_acknowledged_by_those_who_may_start_runs(server: ApiServer, user: str) -> None:
    answer = server.ask(user, "POST", f"{PAGES['hostile incident']}/acknowledge", data={"text": f"seen by {user}"})
    shown = server.ask("viewer", "GET", PAGES["hostile incident"]).text
    listed = server.ask("viewer", "GET", PAGES["models"]).text
    assert "Acknowledge</button>" not in shown, "it offers what it would refuse"
    if user in ("", "viewer"):
        assert answer.status_code == (403 if user else 401), answer.text
        assert f"seen by {user}<" not in shown
    else:
        assert (answer.status_code, answer.headers["location"]) == (303, PAGES["hostile incident"]), answer.text
        assert f">{user}</td>" in shown and f"seen by {user}<" in shown
        assert f"acknowledged by {user}</small>" in listed
        assert "Acknowledge</button>" in server.ask(user, "GET", PAGES["hostile incident"]).text


@pytest.mark.parametrize(
    ("user", "path", "form", "status"),
    [
        ("op", "models/fares/incidents/nothing", {}, 404),
        ("op", "models/nobody/incidents/fares-2013-W15", {}, 404),
        ("op", "models/churn/incidents/churn-2013-05", {"text": "x" * 301}, 422),
        ("", "models/churn/incidents/churn-2013-05", {"text": "from elsewhere"}, 403),
    ],
)
def test_no_other_acknowledgement_is_taken(
    server: ApiServer, user: str, path: str, form: dict[str, str], status: int
) -> None:
    before = server.store.incident_events("churn")
    more: dict[str, Any] = {} if user else {"cookies": {"_token": server.token("admin")}}
    answer = server.ask(user, "POST", f"{UI}/{path}/acknowledge", data=form, **more)
    assert answer.status_code == status, answer.text
    assert server.store.incident_events("churn") == before


@pytest.mark.parametrize("origin", ["", "null", "https://elsewhere.example"])
def test_another_sites_form_starts_nothing(server: ApiServer, origin: str) -> None:
    before = server.runs("fares.training")
    headers = {"Origin": origin} if origin else {}
    cookies = {"_token": server.token("admin")}
    answer = server.ask(
        "", "POST", f"{UI}/models/fares/actions", data={"action": "retrain"}, headers=headers, cookies=cookies
    )
    assert answer.status_code == 403
    assert server.runs("fares.training") == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("models/nobody", 404),
        ("models/..%2Ffares", 404),
        ("models/fares/windows/2013-W01", 404),
        ("models/fares/incidents/nothing", 404),
        ("models/fares/rollouts/nothing", 404),
        ("dags/evergreen.housekeeping", 404),
        ("models?page=x", 422),
        ("trace?id=nothing-of-this-name", 404),
        ("trace/x?model=nobody", 404),
    ],
)
def test_what_is_not_there_is_said_so(server: ApiServer, path: str, status: int) -> None:
    assert server.ask("viewer", "GET", f"{UI}/{path}").status_code == status


def test_a_model_whose_specification_breaks_is_named_and_hides_no_other(server: ApiServer) -> None:
    file = server.models / "fresh" / "model.yaml"
    good = file.read_text(encoding="utf-8")
    try:
        file.write_text(good.replace("owner: tests", "owner: 5"), encoding="utf-8")
        page = server.ask("viewer", "GET", PAGES["models"]).text
        assert "model.yaml is invalid" in page and "fresh/model.yaml" in page
        assert "2 models" in page
        assert server.ask("viewer", "GET", PAGES["new model"]).status_code == 409
    finally:
        file.write_text(good, encoding="utf-8")
    assert "3 models" in server.ask("viewer", "GET", PAGES["models"]).text


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("q=pricing", ["fares"]),
        ("state=not+deployed", ["fresh"]),
        ("sort=name", ["churn", "fares", "fresh"]),
        ("sort=requests+a+minute", ["fares", "churn", "fresh"]),
        ("sort=nonsense&page=99", ["churn", "fresh", "fares"]),
        ("q=nothing+at+all", []),
    ],
)
def test_the_list_is_filtered_and_sorted(server: ApiServer, asked: str, names: list[str]) -> None:
    page = server.ask("viewer", "GET", f"{UI}/models?{asked}").text
    assert re.findall(r'<th scope="row"><a href="[^"]*/models/(\w+)">', page) == names
    assert ("42 / min" in page) == ("fares" in names)


@pytest.fixture(scope="module")
def driver(server: ApiServer) -> Iterator[Chrome]:
    """A browser in which the operator has logged in."""
    with browser(1440, 1000) as found:
        found.get(f"{server.url}{PAGES['models']}")
        assert "logged into Airflow" in found.find_element(By.TAG_NAME, "main").text
        found.find_element(By.LINK_TEXT, "Log in to Airflow").click()
        wait_for(found, "input[name=username]").send_keys("op")
        found.find_element(By.CSS_SELECTOR, "input[name=password]").send_keys(password("op"))
        found.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        wait_until(lambda: found.current_url.endswith("/models"), 30, "the page that the log-in leads back to")
        found.get_log("browser")
        yield found


@pytest.mark.needs("browser")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_is_readable_and_lets_nothing_in(
    driver: Chrome, server: ApiServer, width: int, theme: str
) -> None:
    narrow(driver, width)
    for name, page in PAGES.items():
        driver.get(f"{server.url}{page}")
        driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        driver.refresh()
        wait_for(driver, "main h1")
        assert driver.title.endswith("– Evergreen"), f"{name}: {driver.title}"
        assert driver.execute_script("return document.documentElement.dataset.theme") == theme
        errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == [], name
        assert cut_off(driver) == [], f"{name} at {width} px"
        found = Axe().run(driver, options={"resultTypes": ["violations"]})
        serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious] == [], name
        levels = driver.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), f"{name}: {levels}"
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.needs("browser")
def test_a_failed_canary_is_understood_in_one_click_from_the_models_in_airflow(
    driver: Chrome, server: ApiServer
) -> None:
    driver.get(f"{server.url}/plugin/evergreen-models")
    driver.switch_to.frame(wait_for(driver, "iframe"))
    columns = wait_for(driver, "[aria-label=Models]")
    hidden = driver.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", columns)
    assert hidden == 0, "open incidents, the last column, are out of sight if names and owners are long"
    wait_until(lambda: clicked(driver, "td a[href*=rollouts]"), 30, "a click on the rollout")
    said = wait_for(driver, ".outcome").text
    assert said == f"Version 4 was rolled back; version 2 serves. canary step 1: {TOO_SLOW}."
    figures = driver.find_element(By.CSS_SELECTOR, "[aria-label=Checks]").text
    assert "p95_seconds 0.9" in figures and "golden predictions match" in figures
    assert "latency_ratio_at_most" in driver.find_element(By.TAG_NAME, "main").text
    driver.find_element(By.CSS_SELECTOR, "a[data-airflow]").click()
    driver.switch_to.default_content()
    wait_until(lambda: "/dags/fares.deployment/runs/" in driver.current_url, 30, "Airflow's page of the run")


@pytest.mark.needs("browser")
def test_commits_lead_to_the_forge_and_versions_to_mlflow(driver: Chrome, server: ApiServer) -> None:
    driver.get(f"{server.url}/dags/fares.training")
    wait_for(driver, "a[href$='evergreen-model']").click()
    driver.switch_to.frame(wait_for(driver, "iframe"))
    commit = wait_for(driver, "[aria-label=Versions] td a[data-outside]").get_attribute("href")
    assert commit == f"https://forge.example/pricing/fares/commit/0123456789ab{'0' * 28}"
    before = driver.window_handles
    wait_until(lambda: clicked(driver, "[aria-label=Versions] th a[data-outside]"), 30, "a click on a version")
    wait_until(lambda: len(driver.window_handles) > len(before), 30, "a new tab")
    driver.switch_to.window((set(driver.window_handles) - set(before)).pop())
    wait_until(lambda: "/#/models/fares/versions/4" in driver.current_url, 30, "MLflow's page of the version")
    driver.close()
    driver.switch_to.window(before[0])


def test_the_importance_of_a_feature_is_beside_its_drift(server: ApiServer) -> None:
    table = server.ask("viewer", "GET", f"{UI}/models/fares").text.partition('<table class="heat">')[2]
    assert "share of the permutation importance for version 2" in table
    assert '<th scope="row">miles</th><td>75.0 %</td>' in table
    assert '<th scope="row">prediction</th><td>–</td>' in table


def clicked(driver: Chrome, selector: str) -> bool:
    """Click on what the selector matches; False if Airflow has loaded the frame again in this moment."""
    try:
        wait_for(driver, selector).click()
    except StaleElementReferenceException:
        return False
    return True


@pytest.mark.needs("browser")
def test_the_model_is_a_tab_of_its_dags(driver: Chrome, server: ApiServer) -> None:
    driver.get(f"{server.url}/dags/fares.training")
    wait_for(driver, "a[href$='evergreen-model']").click()
    driver.switch_to.frame(wait_for(driver, "iframe"))
    assert wait_for(driver, "main h1").text.startswith("fares")
    driver.switch_to.default_content()


@pytest.mark.needs("browser")
def test_a_version_is_deployed_and_rolled_back_with_the_mouse(driver: Chrome, server: ApiServer) -> None:
    before = {run["dag_run_id"] for run in server.runs("fares.deployment")}
    driver.get(f"{server.url}{PAGES['fares']}")
    choice = Select(wait_for(driver, "select[name=value]"))
    texts = [option.text for option in choice.options]
    assert texts == ["4 (promoted)", "3 (not promoted)", "2 (promoted, live)", "1 (promoted)"]
    choice.select_by_visible_text("4 (promoted)")
    driver.find_element(By.XPATH, "//button[text()='Deploy']").click()
    notice = wait_for(driver, "[role=status]")
    run = notice.find_element(By.TAG_NAME, "a").text
    select = driver.find_element(By.XPATH, "//form[.//button[text()='Roll back']]//select")
    assert [option.text for option in Select(select).options] == ["the previous release", "version 1"]
    Select(select).select_by_visible_text("version 1")
    driver.find_element(By.XPATH, "//button[text()='Roll back']").click()
    wait_until(lambda: len(server.runs("fares.deployment")) == len(before) + 2, 30, "both runs")
    found = {each["dag_run_id"]: each["conf"] for each in server.runs("fares.deployment")}
    deployed = found.pop(run)
    assert (deployed["version"], deployed["force"]) == ("4", False)
    (other,) = [conf for name, conf in found.items() if name not in before]
    assert (other["rollback"], other["to"]) == (True, "1")
