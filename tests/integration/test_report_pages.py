"""The pages of health in a real browser: no errors, something to see, and a way through with keyboard and reader."""

import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from demo.report import write
from docs.pictures import browser
from include.core.drift.profile import build_profile
from include.core.health.policy import evaluate_policy
from include.core.health.window import Reference, Truth, WindowInputs, measure
from include.core.quality.estimation import build_estimator
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec
from include.core.windows import window_bounds
from include.pages.history import render_history
from include.pages.window import render_window
from tests.integration.demo_results import demo_result
from tests.support.health_rows import incident
from tests.support.page_layout import WIDTHS, cut_off, narrow

pytestmark = [pytest.mark.integration, pytest.mark.needs("browser")]

WINDOWS = [f"2013-{month:02d}" for month in range(3, 13)]
PAGES = ("2013-09.html", "2013-12.html", "index.html")


def rows_of(spec: ModelSpec, window: str, seed: int, rows: int = 400) -> pd.DataFrame:
    """Flights that get windier, and less predictable, by the month."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({feature.name: random.normal(seed % 100 / 3, 3, rows) for feature in spec.features})
    for feature in spec.features:
        if feature.type == "category":
            frame[feature.name] = random.choice(["EWR", "JFK", "LGA"], rows)
        elif feature.name != "wind_speed":
            frame[feature.name] = random.normal(0, 1, rows)
    frame["prediction"] = random.beta(2, 4, rows)
    frame["late"] = random.random(rows) < frame.prediction * 0.8 + 0.1 * random.random(rows) * (seed % 100)
    return frame.assign(
        request_id=[f"{window}/{n}" for n in range(rows)], key=[f"{window}/{n}" for n in range(rows)], row=0,
        received=np.arange(rows) + 0.0, version="1" if window < "2013-08" else "2", release="production@1",
        event_time=window_bounds(window, "month")[0],
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten windows of the bundled example's spec; the newest waits for its truth."""
    from include.adapters.spec_file import load_spec
    from include.settings import PROJECT

    spec = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    holdout = rows_of(spec, "2013-02", 100, 2000)
    profile, estimator = build_profile(holdout, spec, holdout.prediction), build_estimator(holdout, spec)
    history = []
    for number, window in enumerate(WINDOWS):
        frame = rows_of(spec, window, number, 400)
        truth = None if window == WINDOWS[-1] else frame[["key", "late"]].rename(columns={"key": spec.truth.key})
        inputs = WindowInputs(
            window,
            as_of=window_bounds(window, "month")[1],
            predictions=frame.drop(columns="late"),
            truth=Truth(truth, "has not arrived" if truth is None else None),
            reference=Reference({"roc_auc": QualityFigure(0.68)}, profile, estimator),
        )
        history.append(measure(inputs, spec))
    finding = "wind_speed: 12 of 400 values are outside the range or categories allowed in model.yaml"
    history[-1] = replace(history[-1], data_quality=replace(history[-1].data_quality, findings=(finding,)))
    incidents = [incident("2013-09", "flights")]
    place = tmp_path_factory.mktemp("flights")
    for number, row in enumerate(history):  # as publish_health does it
        until = history[: number + 1]
        after = WINDOWS[number + 1] if number + 1 < len(WINDOWS) else None
        verdict = evaluate_policy(spec, until, []).verdict
        (place / f"{row.window}.html").write_text(render_window(spec, until, incidents, verdict, after=after))
    (place / "index.html").write_text(
        render_history(spec, history, incidents, evaluate_policy(spec, history, incidents).verdict)
    )
    return place


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser(1280, 1000) as found:
        yield found


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_something_and_the_console_has_no_errors(driver: Chrome, folder: Path, page: Any) -> None:
    driver.get((folder / page).as_uri())
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    picture = np.asarray(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("L"))
    assert len(np.unique(picture)) > 20, "the page has hardly any colours"
    assert (picture < 128).mean() > 0.002, "the page has hardly any ink"
    assert driver.execute_script("return document.body.scrollWidth <= window.innerWidth"), "it scrolls to the side"


@pytest.mark.parametrize("page", PAGES)
def test_the_page_can_be_read_aloud_and_walked_with_the_keyboard(driver: Chrome, folder: Path, page: Any) -> None:
    driver.get((folder / page).as_uri())
    ask = driver.execute_script
    assert ask("return document.documentElement.lang") == "en"
    levels = ask("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert ask("return [...document.querySelectorAll('table')].filter(t => !t.caption).length") == 0
    assert ask("return [...document.querySelectorAll('th')].filter(t => !t.scope).length") == 0
    assert ask("return [...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length") == 0
    ids = ask("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "Skip to the figures"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "main"


@pytest.mark.parametrize("page", PAGES)
def test_text_stands_out_from_its_background(driver: Chrome, folder: Path, page: Any) -> None:
    """At least 4.5 to 1: WCAG 2.1, success criterion 1.4.3."""
    driver.get((folder / page).as_uri())
    assert driver.execute_script(CONTRAST) == []


def test_distributions_are_drawn_and_their_shares_can_be_read(driver: Chrome, folder: Path) -> None:
    """Bars for the eye, and the same shares as a table: nothing depends on colours."""
    driver.get((folder / "2013-12.html").as_uri())
    ask = driver.execute_script
    names = ask("return [...document.querySelectorAll('.shares caption b')].map(e => e.textContent)")
    assert names[-1] == "prediction"
    assert "wind_speed" in names
    assert "wind_speed, share of rows (drifted)" in ask(
        "return [...document.querySelectorAll('.shares caption')].map(e => e.textContent)"
    )
    find = "[...document.querySelectorAll('.shares tbody {}')]"
    bars = ask(f"return {find.format('i.now')}.map(e => e.getBoundingClientRect().width)")
    shares = ask(f"return {find.format('td:last-child')}.map(e => parseFloat(e.textContent))")
    assert len(bars) == len(shares) > 20
    assert max(bars) > 80, "the bars are too short to be seen"
    assert all(width >= 1 for width in bars)
    assert all(abs(bars[n] - bars[m]) < 3 for n in range(4) for m in range(4) if shares[n] == shares[m])
    assert ask("return getComputedStyle(document.querySelector('.shares i.before')).backgroundImage") != "none"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(driver: Chrome, folder: Path, width: int, theme: str) -> None:
    """The demo's report had a column one word wide, and its last one was cut."""
    scheme = {"name": "prefers-color-scheme", "value": theme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    narrow(driver, width)
    report, *_ = (
        path for path in write(demo_result(), folder / "demo", "http://127.0.0.1:8080") if path.suffix == ".html"
    )
    for page in (*(folder / name for name in PAGES), report):
        driver.get(page.as_uri())
        assert cut_off(driver) == [], f"{page.name} at {width} px"
        assert driver.execute_script(CONTRAST) == [], f"{page.name} in {theme}"
        assert driver.execute_script(CRAMPED) == [], f"{page.name} at {width} px"
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_link_leads_from_the_history_to_a_window_and_on_to_the_next(driver: Chrome, folder: Path) -> None:
    driver.get((folder / "index.html").as_uri())
    driver.find_element(By.LINK_TEXT, "2013-08").click()
    driver.find_element(By.CSS_SELECTOR, "a[rel=next]").click()
    assert driver.title == "flights 2013-09: health"
    driver.find_element(By.LINK_TEXT, "All windows").click()
    assert driver.title == "flights: health history"


CRAMPED = """
return [...document.querySelectorAll('main td, main th')].filter(e => {
    const box = e.getBoundingClientRect(), words = e.innerText.trim().split(/\\s+/)
    return words.length > 8 && box.height > 12 * 20 && box.width < 90
}).map(e => e.outerHTML.slice(0, 120))
"""
"""Cells with many words that stand one below the other."""
CONTRAST = """
const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
const light = c => { const [r, g, b] = c.map(v => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b }
const parse = text => text.match(/[\\d.]+/g).map((n, i) => text.startsWith('color(') && i < 3 ? 255 * n : +n)
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor)
                                                        if (c.length < 4 || c[3] > 0) return c.slice(0, 3) }
                      return [255, 255, 255] }
return [...document.querySelectorAll('body *')].filter(e => !e.closest('svg') && [...e.childNodes].some(
    n => n.nodeType === 3 && n.textContent.trim())).flatMap(e => {
        const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((x, y) => y - x)
        return (a + .05) / (b + .05) < 4.5 ? [e.outerHTML.slice(0, 80)] : [] })
"""
