"""Rendering of pages: their templates, and filters that format figures."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape


def report_path(reports: Path, model: str, window: str) -> Path:
    """The path of the window's page in the folder ``reports``; its health as JSON is next to it."""
    return reports / model / f"{window}.html"


def template(name: str) -> Template:
    """A page's template, with filters that format figures."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.4g}"
    environment.filters["signed"] = lambda value: "–" if value is None else f"{value:+.3g}"
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    return environment.get_template(name)
