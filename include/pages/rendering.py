"""Rendering of pages: their templates, and filters that format figures."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from include.pages.forge import commit_page


def report_path(reports: Path, model: str, window: str) -> Path:
    """The path of the window's page in the folder ``reports``; its health as JSON is next to it."""
    return reports / model / f"{window}.html"


def file_of_window(window: str) -> str:
    """The link from a page in the folder of reports to a window's page next to it."""
    return f"{window}.html"


def template(name: str) -> Template:
    """A page's template, with filters that format figures."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4g}"
    environment.filters["signed"] = lambda value: "–" if value is None else f"{value:+.3g}"
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    environment.filters["commit_page"] = commit_page
    environment.filters["moment"] = lambda value: f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M} UTC"
    return environment
