"""Whether a page can be read at the widths of a desktop, a tablet and a phone."""

from __future__ import annotations

from selenium.webdriver import Chrome

WIDTHS = (1440, 1024, 390)

CUT = """
const frame = e => e.closest('.scroll, .shares, pre')
const cut = e => frame(e) ? frame(e).scrollWidth > 6000 : e.getBoundingClientRect().right > window.innerWidth + 1
const shown = [...document.querySelectorAll('main *, nav *')].filter(e => !e.closest('.skip'))
return shown.filter(cut).map(e => e.outerHTML.slice(0, 120)).slice(0, 5)
"""
"""What is cut at the right, or in a table that would have to be scrolled for ever."""


def narrow(driver: Chrome, width: int) -> None:
    """Show pages in this width. A window can't be as narrow as a phone; the emulation of one can."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def cut_off(driver: Chrome) -> list[str]:
    """The beginnings of the elements that are cut off at this width."""
    return list(driver.execute_script(CUT))
