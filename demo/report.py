"""The demo's results in ``EVERGREEN_HOME/demo``: ``report.json``, ``auc_by_month.png`` and ``report.html``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from demo import flights_data
from demo.progress import Progress
from demo.story import Story
from include.core.quality.evaluation import figures
from include.core.spec import ModelSpec
from include.stages.installation import open_installation
from include.stages.scoring import score

Outcome = Mapping[str, Any]
FIRST_VERSION = "1"
GREEN, GREY, RED, INK = "#2f7d4f", "#9aa3a0", "#c2452d", "#24302b"


def outcome(story: Story) -> dict[str, Any]:
    """All results, as written to report.json."""
    progress = story.progress
    months = [story.summary(month) for month in story.months]
    releases = releases_of(progress, story.months)
    scores = progress.once(f"scores/{story.months[-1]}", lambda: score_versions(story, releases))
    for row in months:
        row["without_retraining"] = scores[FIRST_VERSION].get(row["month"])
        row["with_retraining"] = scores.get(str(row.get("live_version")), {}).get(row["month"])
    retrainings = [judge(release, releases, scores) for release in releases if release["kind"] == "incident"]
    return {
        "model": story.spec.name,
        "metric": story.spec.metrics.primary,
        "months": months,
        "stages": stages_of(progress, story.months),
        "releases": releases,
        "retrainings": retrainings,
        "scores": scores,
        "traffic": traffic_of(progress),
        "seconds": {
            "first release": progress.seconds("release/first"),
            "months": {row["month"]: row["seconds"] for row in months},
            "second commit": progress.seconds("release/second"),
            "loop": round(sum(row["seconds"] for row in months) + progress.seconds("release/second"), 1),
            "steps": {name: step["seconds"] for name, step in progress.steps.items()},
        },
        "success": any(retraining["improved"] for retraining in retrainings),
    }


def releases_of(progress: Progress, months: Sequence[str]) -> list[dict[str, Any]]:
    """Trainings in chronological order, each with kind (first, incident, commit), month, versions and verdict."""
    names = {"release/first": "first", "release/second": "commit"}
    names |= {f"month/{month}/release": "incident" for month in months}
    releases = [
        {"kind": kind, "began": progress.steps[name]["started"], "seconds": progress.steps[name]["seconds"]}
        | {key: value for key, value in progress.steps[name]["result"].items() if key not in ("stages", "traffic")}
        for name, kind in names.items()
        if progress.done(name)
    ]
    return sorted(releases, key=lambda release: release["began"])


def stages_of(progress: Progress, months: Sequence[str]) -> list[dict[str, Any]]:
    """Every Dag run of the loop, ordered by start."""
    wanted = {"ci/first", "ci/second", "release/first", "release/second"}
    wanted |= {f"month/{month}/{step}" for month in months for step in ("monitoring", "retraining", "release")}
    stages: list[dict[str, Any]] = []
    for name, step in progress.steps.items():
        if name in wanted:
            stages.extend(step["result"] if isinstance(step["result"], list) else step["result"]["stages"])
    return sorted(stages, key=lambda stage: stage["started"])


def traffic_of(progress: Progress) -> dict[str, Any]:
    """Request counts of the whole demo, including requests during deployments."""
    results = [step["result"] for step in progress.steps.values() if isinstance(step["result"], dict)]
    counts = [result for result in results if "failures" in result]
    counts += [result["traffic"] for result in results if "traffic" in result]
    return {
        "requests": sum(count.get("requests", 0) for count in counts),
        "rows": sum(count.get("rows", 0) for count in counts),
        "failed": sum(count.get("failed", 0) for count in counts),
        "failures": [failure for count in counts for failure in count.get("failures", [])][:5],
    }


def judge(
    release: Mapping[str, Any], releases: Sequence[Mapping[str, Any]], scores: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Whether a retraining improved production: its version compared with the one that it replaced.

    Compared on all flights of the months that it served, which neither version had seen in training; if the demo ends
    before it served a month, on the holdout of its promotion.
    """
    judged = {name: release[name] for name in ("month", "why", "version", "promoted", "replaced")}
    judged["verdict"] = release["verdict"]["reason"]
    if not release["promoted"] or release["replaced"] is None:
        return {**judged, "served": [], "difference": None, "improved": False}
    later = [other["month"] for other in releases if other["began"] > release["began"] and other["promoted"]]
    last = min(later, default=flights_data.MONTHS[-1])
    new, old = scores[release["version"]], scores[release["replaced"]]
    served = [month for month in new if release["month"] < month <= last]
    if served:
        difference = sum(new[month] - old[month] for month in served) / len(served)
    else:
        difference = release["verdict"]["signals"].get("better_by", 0.0)
    return {**judged, "served": served, "difference": difference, "improved": difference > 0}


def score_versions(story: Story, releases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The primary metric of every version that was in production, per month, on all flights of the month.

    Each version predicts in its own build's environment, as it did in production.
    """
    versions = sorted({release["version"] for release in releases if release["promoted"]} | {FIRST_VERSION}, key=int)
    data = [story.year / "training" / f"{month}.parquet" for month in story.months]
    folder = story.home / "demo" / "scores"

    def score(version: str) -> dict[str, float]:
        return score_version(story.spec, version, data, folder / version)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(versions, pool.map(score, versions), strict=True))


def score_version(spec: ModelSpec, version: str, data: Sequence[Path], folder: Path) -> dict[str, float]:
    """One version's primary metric per month (``YYYY-MM``) on the partitions ``data``."""
    predictions = score(open_installation(), spec, version, [str(path) for path in data], folder)
    by_month = {}
    for path in data:
        truth = pd.read_parquet(path, columns=[spec.data.key, spec.target])
        both = truth.merge(predictions, on=spec.data.key, validate="1:1")
        measured = figures(both[spec.target], both["prediction"], [spec.metrics.primary], resamples=0)
        value = measured[spec.metrics.primary].value
        if value is not None:
            by_month[path.stem] = round(value, 4)
    return by_month


def write(result: Mapping[str, Any], folder: Path, airflow: str) -> list[Path]:
    """Write report.json, auc_by_month.png and report.html into ``folder``; returns their paths.

    ``airflow`` is the address of the web UI, for the links to runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("report.json", "auc_by_month.png", "report.html")]
    paths[0].write_text(json.dumps(result, indent=1), encoding="utf-8")
    draw(result, paths[1])
    paths[2].write_text(render(result, paths[1].read_bytes(), airflow), encoding="utf-8")
    return paths


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw the chart: AUC by month with and without retraining, retrainings marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    months = result["months"]
    labels = [row["month"] for row in months]
    positions = range(len(months))
    figure, axes = pyplot.subplots(figsize=(10, 4.8), dpi=150)
    axes.plot(positions, [row["without_retraining"] for row in months], color=GREY, marker="o", linewidth=2,
              label="without retraining (version 1, all flights)")  # fmt: skip
    axes.plot(positions, [row["with_retraining"] for row in months], color=GREEN, marker="o", linewidth=2.5,
              label="with Evergreen (live version, all flights)")  # fmt: skip
    measured = [(x, row) for x, row in zip(positions, months, strict=True) if row.get("low") is not None]
    axes.vlines([x for x, _ in measured], [row["low"] for _, row in measured], [row["high"] for _, row in measured],
                color=GREEN, alpha=0.25, linewidth=7, label="measured in production, 95% interval")  # fmt: skip
    _mark_releases(axes, result["releases"], labels)
    axes.set_xticks(list(positions), labels)
    axes.set_ylabel("AUC (higher is better)")
    axes.set_title("Late flights: the same model with and without retraining", loc="left", color=INK)
    axes.grid(axis="y", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.25 * (high - low), high + 0.1 * (high - low))
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _mark_releases(axes: Any, releases: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    before, line = -2.0, 0
    for release in releases:
        if release["kind"] == "first" or release["month"] not in labels:
            continue
        x = labels.index(release["month"]) + 0.5
        line = line + 1 if x - before < 2 else 0  # below the label beside it
        before = x
        colour = RED if release["kind"] == "incident" else INK
        axes.axvline(x, color=colour, linewidth=1, linestyle="-" if release["promoted"] else ":", alpha=0.8)
        what = {"incident": "retrained", "commit": "new commit"}[release["kind"]]
        text = f"{what}: v{release['version']}" + ("" if release["promoted"] else " (not promoted)")
        axes.annotate(text, (x, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10 - 11 * line),
                      textcoords="offset points",
                      fontsize=8, color=colour)  # fmt: skip


def render(result: Mapping[str, Any], picture: bytes, airflow: str) -> str:
    """The HTML report: a single self-contained file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    template = environment.get_template("report.html.j2")
    encoded = base64.b64encode(picture).decode()
    return template.render(result=result, picture=encoded, events=events_by_month(result), airflow=airflow)


def events_by_month(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """What was trained and released at the end of each month, as text."""
    events: dict[str, list[str]] = {}
    for release in result["releases"]:
        what = {"first": "first model", "incident": "retrained", "commit": "new commit"}[release["kind"]]
        how = "" if release["promoted"] else ", not promoted"
        events.setdefault(release["month"], []).append(f"{what}: version {release['version']}{how}")
    return events
