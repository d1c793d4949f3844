"""The model card of a version, as Markdown: ``card.md`` in its bundle, and its description in the registry.

Names, descriptions, reasons and values of slices come from users and data, so whatever Markdown or HTML would read as
markup is escaped in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from include.core.build import Lineage
from include.core.json_types import JsonObject
from include.core.spec import Feature, ModelSpec

LONGEST_TEXT = 400
LONGEST_DESCRIPTION = 4900
"""PostgreSQL has 5000 characters for a description in MLflow's registry."""
MOST_ROWS = 60
MARKUP = re.compile(r"[\\`*_{}\[\]()#~|!]")
HTML = re.compile(r"[&<>@]|:(?=/)|(?<=www)\.", re.IGNORECASE)


def plain(text: object, longest: int = LONGEST_TEXT) -> str:
    """The text in one line, shown as it is: nothing in it is markup, a link or HTML."""
    words = " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())
    if len(words) > longest:
        words = f"{words[: longest - 1]}…"
    return HTML.sub(lambda found: f"&#{ord(found[0])};", MARKUP.sub(r"\\\g<0>", words))


def model_card(spec: ModelSpec, lineage: Lineage, figures: JsonObject) -> str:
    """The card; ``figures`` is the content of ``metrics.json``."""
    parts = [
        [f"# {plain(spec.name)}, trained on data until {plain(lineage.trained_until or lineage.window or 'unknown')}"],
        _verdict(figures),
        _quality(spec, figures),
        _about(spec, lineage),
        _data(lineage),
        _origin(lineage),
        _slices(spec, figures),
        _importances(lineage),
        _limits(spec),
        _loading(spec),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def description(card: str) -> str:
    """The card, as far as the registry has room for it."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    rest = "\n\n… The complete card is card.md among the version's files."
    return card[: LONGEST_DESCRIPTION - len(rest)].rpartition("\n")[0] + rest


def registered_description(spec: ModelSpec) -> str:
    """The description of the registered model: what it predicts and who owns it."""
    return f"{plain(spec.description, 2000)}\n\nOwner: {plain(spec.owner)}"


def _verdict(figures: JsonObject) -> list[str]:
    verdict = figures.get("verdict")
    if not verdict:
        return []
    answer = "offered for deployment" if verdict["answer"] == "pass" else "refused"
    return [f"**{answer}**: {plain(verdict['reason'], 1000)}"]


def _quality(spec: ModelSpec, figures: JsonObject) -> list[str]:
    champion = (figures.get("champion") or {}).get("quality", {})
    heading = (
        f"## Quality on the holdout\n\n| metric | value | {spec.metrics.confidence:.0%} interval | champion | rows |"
    )
    rows = [
        f"| {plain(name)} | {_value(figure)} | {_interval(figure)} | {_value(champion.get(name))} "
        f"| {figure.get('n', 0)} |"
        for name, figure in figures.get("quality", {}).items()
    ]
    difference = figures.get("difference") or {}
    lines = [heading, "| --- | --- | --- | --- | --- |", *rows] if rows else []
    if difference.get("value") is not None:
        lines.append(f"\nBetter than the champion by {_value(difference)} {plain(difference.get('metric'))}, ")
        lines[-1] += f"interval {_interval(difference)} (positive: better)."
    return lines


def _about(spec: ModelSpec, lineage: Lineage) -> list[str]:
    return [
        "## Model\n",
        plain(spec.description, 1000) + "\n",
        f"- Owner: {plain(spec.owner)}",
        f"- Task: {plain(spec.task)}; predicts {plain(spec.target)}",
        *([f"- Threshold: {spec.metrics.threshold:g}"] if spec.task == "binary_classification" else []),
        f"- Estimator: {plain(spec.estimator)}; feature code: {plain(spec.feature_code or 'none')}",
        *_served(lineage),
    ]


def _served(lineage: Lineage) -> list[str]:
    """What serves the version; nothing for versions from before models were compiled."""
    reason = lineage.training.get("not_compiled")
    if reason is None:
        return []
    return [f"- Served by the fitted estimator: {plain(reason)}" if reason else "- Served by ONNX Runtime (compiled)"]


def _data(lineage: Lineage) -> list[str]:
    windows = lineage.windows or ((lineage.window,) if lineage.window else ())
    span = f"{plain(windows[0])} to {plain(windows[-1])} ({len(windows)})" if windows else "unknown"
    report = lineage.training
    return [
        "## Data\n",
        f"- Windows: {span}",
        f"- Snapshot: {plain(lineage.snapshot or 'unknown')}",
        f"- Rows: {report.get('rows', 0)} to train on, until {plain(lineage.trained_until or 'unknown')}; "
        f"{report.get('holdout_rows', 0)} in the holdout",
    ]


def _origin(lineage: Lineage) -> list[str]:
    return [
        "## Lineage\n",
        f"- Commit: {plain(lineage.commit or 'unknown')}",
        f"- Build: {plain(lineage.build or 'unknown')}",
        f"- Run: {plain(lineage.run_id or 'unknown')}",
        f"- Reason: {plain(lineage.reason or 'unknown')}",
        *([f"- Incident: {plain(lineage.incident)}"] if lineage.incident else []),
    ]


def _slices(spec: ModelSpec, figures: JsonObject) -> list[str]:
    metric, slices = spec.metrics.primary, figures.get("slices", {})
    if not slices:
        return []
    rows = [
        f"| {plain(name, 80)} | {_value(quality.get(metric))} | {_interval(quality.get(metric))} "
        f"| {(quality.get(metric) or {}).get('n', 0)} |"
        for name, quality in slices.items()
    ]
    heading = f"## Slices\n\n| slice | {plain(metric)} | interval | rows |\n| --- | --- | --- | --- |"
    return [heading, *_first(rows, "slices", " | | |")]


def _importances(lineage: Lineage) -> list[str]:
    shares = lineage.training.get("importances", {})
    if not shares:
        return []
    by_share = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
    rows = [f"| {plain(name, 80)} | {share:.1%} |" for name, share in by_share]
    heading = "## Features by importance\n\n| feature | share of the permutation importance |\n| --- | --- |"
    return [heading, *_first(rows, "features", " |")]


def _limits(spec: ModelSpec) -> list[str]:
    rows = [f"| {plain(each.name, 80)} | {plain(each.type)} | {_allowed(each)} |" for each in spec.features]
    return [
        "## Limits\n",
        "Trained for values within these limits; other values are predicted, but were never checked.\n",
        "| feature | type | allowed values |\n| --- | --- | --- |",
        *_first(rows, "features", " | |"),
    ]


def _allowed(feature: Feature) -> str:
    texts = []
    if feature.minimum is not None:
        texts.append(f"from {feature.minimum:g}")
    if feature.maximum is not None:
        texts.append(f"to {feature.maximum:g}")
    if feature.categories is not None:
        texts.append("one of " + ", ".join(feature.categories))
    texts.append(f"at most {feature.missing_at_most:.0%} missing" if feature.missing_at_most else "none missing")
    return plain("; ".join(texts), 200)


def _loading(spec: ModelSpec) -> list[str]:
    return [
        "## Loading it\n",
        "With Evergreen's project folder on PYTHONPATH, and MLflow and the model's requirements installed:\n",
        f'    mlflow.pyfunc.load_model("models:/{spec.name}@champion").predict(frame)',
    ]


def _first(rows: Sequence[str], what: str, cells: str) -> Iterator[str]:
    yield from rows[:MOST_ROWS]
    if len(rows) > MOST_ROWS:
        yield f"| … and {len(rows) - MOST_ROWS} more {what} |{cells}"


def _value(figure: Any) -> str:
    value = (figure or {}).get("value")
    return "–" if value is None else f"{value:.4g}"


def _interval(figure: Any) -> str:
    low, high = (figure or {}).get("low"), (figure or {}).get("high")
    return "–" if low is None or high is None else f"{low:.4g} to {high:.4g}"
