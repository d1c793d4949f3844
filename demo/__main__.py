"""``python -m demo``: plays a year of flights through the whole loop, on the embedded platform."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dotenv import load_dotenv

from demo import flights_data, report, repository
from demo.airflow_client import AirflowClient, AirflowError
from demo.progress import Progress
from demo.story import FIRST_MONTHS, LATER_MONTHS, MODEL, Story
from demo.terminal import Terminal
from demo.traffic import Sender, payload
from include.adapters.spec_file import load_spec
from include.core.errors import EvergreenError
from include.embedded import platform
from include.embedded.__main__ import addresses
from include.settings import PROJECT, Settings
from include.stages.installation import open_installation

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the demo; returns the exit code. A second run resumes where the first one stopped."""
    load_dotenv(PROJECT / ".env")
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--months", type=int, default=len(LATER_MONTHS), choices=range(1, len(LATER_MONTHS) + 1), metavar="N",
        help="number of months to simulate, from March 2013 (default: all 10)",
    )  # fmt: skip
    parser.add_argument(
        "--rows-per-month",
        type=int,
        default=2500,
        metavar="N",
        help="number of flights per month to request predictions for (default: 2500)",
    )
    chosen = parser.parse_args(arguments)
    if not 300 <= chosen.rows_per_month <= 10_000:
        parser.error(
            "--rows-per-month must be from 300 to 10000: fewer can't be judged, and more leave too few for canaries"
        )
    os.umask(0o077)
    settings = open_installation().settings
    os.environ["EVERGREEN_HOME"] = str(settings.home)
    try:
        return _demo(settings, chosen.months, chosen.rows_per_month)
    except KeyboardInterrupt:
        print("\nInterrupted. 'make demo' resumes where it stopped; 'make down' stops the platform.", file=sys.stderr)
        return INTERRUPTED
    except (AirflowError, EvergreenError, repository.RepositoryError, OSError) as error:
        print(f"\n{error}\n\nThe demo stopped here. Once the cause is fixed, 'make demo' resumes.", file=sys.stderr)
        if platform.running(settings):
            print(
                f"The platform stays up for inspection: {_web_ui(settings)}. Clear the failed run there first.",
                file=sys.stderr,
            )
        return 1


def _demo(settings: Settings, months: int, rows_per_month: int) -> int:
    progress = Progress(settings.home / "demo" / "progress.json")
    fresh = not progress.steps
    with Terminal() as view:
        year = _prepare(settings, progress, view)
        spec = load_spec(settings.models / MODEL / "model.yaml")
        url = f"http://127.0.0.1:{settings.gateway_port}/v2/models/{MODEL}/infer"
        story = Story(
            home=settings.home,
            lake=settings.lake,
            spec=spec,
            installation=open_installation(),
            airflow=AirflowClient(
                f"http://127.0.0.1:{settings.airflow_port}", "admin", settings.secret("admin_password")
            ),
            sender=Sender(url, settings.secret("prediction_token"), spec),
            progress=progress,
            view=view,
            year=year,
            months=LATER_MONTHS[:months],
            rows_per_month=rows_per_month,
        )
        before = progress.ran
        if not fresh:
            view.event("resuming an earlier demo; finished steps are not repeated")
        story.first_release()
        story.live()
        view.status("scoring all months with all versions, for the comparison")
        result = report.outcome(story)
        finished_before = progress.ran == before
    paths = report.write(result, settings.home / "demo", f"http://127.0.0.1:{settings.airflow_port}")
    view.summary(result, report.events_by_month(result))
    if finished_before:
        print("\nThis demo had already finished; these are its results. For a new one: 'make clean', 'make demo'.")
    _explain(settings, story, url, paths)
    if not result["success"]:
        print(_why_not(result), file=sys.stderr)
        return 1
    return 0


def _prepare(settings: Settings, progress: Progress, view: Terminal) -> Path:
    """Prepare the platform, the first data and the first commit; the platform starts while the data is prepared."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    up = subprocess.Popen(
        [sys.executable, "-m", "include.embedded", "up"],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        view.status("starting the platform and preparing the flights of 2013")
        # The repository comes first, because the Git trigger backs off while it is missing.
        bare = settings.home / "repositories" / f"{MODEL}.git"
        year = flights_data.prepare_year(settings.home / "demo" / "year")
        for month in FIRST_MONTHS:
            progress.once(f"arrival/{month}", partial(flights_data.arrive, year, settings.lake, month))
        branch = load_spec(settings.models / MODEL / "model.yaml").repository.branch
        commit = progress.once("commit/first", lambda: repository.create(bare, settings.models / MODEL, branch))
        if progress.ran:
            view.event(f"added the data of January and February; pushed commit {commit[:12]} to {bare}")
        output, _ = up.communicate()
    except BaseException:
        up.terminate()
        raise
    if up.returncode != 0:
        raise EvergreenError(f"The platform did not start:\n{output.strip()}")
    view.event(output.strip().splitlines()[0])
    return year


def _explain(settings: Settings, story: Story, url: str, paths: Sequence[Path]) -> None:
    """Print all addresses, and an example request."""
    example = settings.home / "demo" / "request.json"
    flights = flights_data.read_month(story.year, story.months[-1]).head(2)
    example.write_text(json.dumps(payload(flights, story.spec, "by-hand")), encoding="utf-8")
    print(f"\n{addresses(settings)}\n")
    print("Request a prediction:")
    print(f"  curl -s -H \"Authorization: Bearer $(cat '{settings.secrets / 'prediction_token'}')\" \\")
    print(f"    -H 'Content-Type: application/json' -d @'{example}' {url}\n")
    for path in paths:
        print(path)
    print(
        "\nThe platform stays up. 'make status' shows its state, 'make passwords' how to log in, 'make down' stops it."
    )


def _why_not(result: report.Outcome) -> str:
    if not result["retrainings"]:
        return "\nNo month was bad enough for an incident. Simulate more months, or lower degradation.drop."
    return "\nThere was an incident, but no retraining improved production. The table gives the reasons."


def _web_ui(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.airflow_port}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
