"""The models' part of the metrics page: only what has changed since the last scrape is read and written again.

Reading the releases, windows and incidents of a model takes several milliseconds, and Prometheus scrapes all models
several times a minute.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from include.core.spec import ModelSpec
from include.observability.exposition import Exposition
from include.observability.health_metrics import add_model
from include.stages.installation import Installation
from include.stages.retraining import decide

_written: dict[str, tuple[ModelSpec, Hashable, bytes]] = {}
"""Model → its specification and its mark in the store when its page was written, and the page."""


def model_pages(installation: Installation, specs: Sequence[ModelSpec]) -> list[bytes]:
    """The metrics of each model, as a page of its own."""
    marks = installation.store.marks()
    for gone in _written.keys() - {spec.name for spec in specs}:
        _written.pop(gone, None)
    return [_page(installation, spec, marks.get(spec.name)) for spec in specs]


def _page(installation: Installation, spec: ModelSpec, mark: Hashable) -> bytes:
    known = _written.get(spec.name)
    if known and known[:2] == (spec, mark):
        return known[2]
    page = Exposition()
    add_model(page, spec, installation.store, decide(installation, spec))
    text = page.page()
    _written[spec.name] = (spec, mark, text)
    return text
