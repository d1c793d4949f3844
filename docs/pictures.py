"""``make pictures``: the README's pictures, taken from a running platform after ``make demo``, by a headless Chromium.

Wants Debian's packages ``chromium`` and ``chromium-driver`` (or Chrome with its driver) on the machine.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from dotenv import load_dotenv
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from demo.airflow_client import AirflowClient
from include.settings import PROJECT, Settings

FOLDER = PROJECT / "docs" / "pictures"
SECONDS = 60


@contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A headless Chromium that talks to nobody but the pages it is sent to."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
        *("disable-background-networking", "disable-component-update", "disable-sync", f"window-size={width},{height}"),
    ):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def log_in(driver: webdriver.Chrome, settings: Settings) -> None:
    """Log into Airflow's web UI as its administrator."""
    driver.get(f"http://127.0.0.1:{settings.airflow_port}/auth/login")
    wait_for(driver, "input[name=username]").send_keys("admin")
    driver.find_element(By.CSS_SELECTOR, "input[name=password]").send_keys(settings.secret("admin_password"))
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    WebDriverWait(driver, SECONDS).until(lambda found: "/auth/login" not in found.current_url)


def wait_for(driver: webdriver.Chrome, selector: str) -> webdriver.remote.webelement.WebElement:
    """The first element that the selector matches, as soon as it is displayed.

    If it does not appear, raises TimeoutException with the page's address, text and console.
    """
    try:
        waiting = WebDriverWait(driver, SECONDS, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(  # type: ignore[return-value]
            lambda page: next(
                (one for one in page.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()), False
            )
        )
    except TimeoutException:
        shown = driver.find_element(By.TAG_NAME, "body").text
        console = "\n".join(entry["message"] for entry in driver.get_log("browser"))
        raise TimeoutException(
            f"{selector} did not appear on {driver.current_url} within {SECONDS} s. The page says: {shown}\n"
            f"Its console: {console}"
        ) from None


def take(driver: webdriver.Chrome, name: str, selector: str) -> None:
    """Wait until the page shows the selector and has stopped changing, then keep it as ``<name>.png``."""
    wait_for(driver, selector)
    before, deadline = b"", time.monotonic() + SECONDS
    while (now := driver.get_screenshot_as_png()) != before and time.monotonic() < deadline:
        before = now
        time.sleep(1.5)  # pages that draw a graph move for about a second
    (FOLDER / f"{name}.png").write_bytes(now)
    print(FOLDER / f"{name}.png")


def main() -> None:
    """Take all pictures. Needs a platform on which the demo was played, and Chromium with chromedriver."""
    load_dotenv(PROJECT / ".env")
    settings = Settings.from_environment()
    if not (settings.home / "demo" / "report.html").exists():
        raise SystemExit("There is nothing to see yet: run 'make demo' first, and leave the platform up.")
    if not shutil.which("chromedriver"):
        raise SystemExit("No chromedriver was found. On Debian: apt-get install chromium chromium-driver")
    FOLDER.mkdir(exist_ok=True)
    airflow = AirflowClient(f"http://127.0.0.1:{settings.airflow_port}", "admin", settings.secret("admin_password"))
    runs = [run for run in airflow.runs("flights.deployment") if run["state"] == "success"]
    run = next(run["dag_run_id"] for run in runs if run["dag_run_id"].startswith("asset_triggered"))
    base = f"http://127.0.0.1:{settings.airflow_port}"
    with browser() as driver:
        log_in(driver, settings)
        driver.get(f"{base}/dags?tags=model%3Aflights")
        take(driver, "dags", "a[href*='flights.training']")
        driver.get(f"{base}/dags/flights.deployment/runs/{run}")
        wait_for(driver, "button[aria-label^='Show Graph']").click()
        take(driver, "deployment", ".react-flow__node")
        driver.get(f"{base}/assets")
        wait_for(driver, "a[href*='assets/']")
        driver.find_element(By.LINK_TEXT, "flights/build").click()
        take(driver, "assets", ".react-flow__node")
        driver.get(f"{base}/plugin/evergreen-models")
        driver.switch_to.frame(wait_for(driver, "iframe"))
        wait_for(driver, "main table")
        driver.switch_to.default_content()
        take(driver, "models", "iframe")
        driver.get(f"{base}/evergreen/ui/models/flights")
        take(driver, "model", "svg.chart")
        driver.get(f"{base}/evergreen/ui/models/flights/rollouts/{quote(run, safe='')}")
        take(driver, "rollout", "[aria-label=Checks]")
        newest = max((settings.reports / "flights").glob("[0-9]*.html"))
        for name, page in {"demo": settings.home / "demo" / "report.html", "health": newest}.items():
            driver.get(Path(page).as_uri())
            take(driver, name, "h1")
    shutil.copyfile(settings.home / "demo" / "auc_by_month.png", FOLDER / "auc_by_month.png")


if __name__ == "__main__":
    main()
