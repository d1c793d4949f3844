"""The loop, month by month: traffic, ground truth, monitoring, and what the platform then does on its own.

The story only does what a user, an airline and the calendar would do: push commits, send prediction requests, deliver
data, and trigger the monitoring of a month. Checks, training, deployment and retraining start on their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from demo import flights_data, repository
from demo.airflow_client import AirflowClient, Run, RunFailedError
from demo.progress import Progress
from demo.traffic import BUSY_SECONDS, BackgroundTraffic, Sender, Traffic
from include.core.quality.figures import QualityFigure
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.installation import Installation
from include.stages.retraining import decide

MODEL = "flights"
FIRST_MONTHS = ("2013-01", "2013-02")
LATER_MONTHS = flights_data.MONTHS[2:]
COMMIT_AFTER = 5
"""The second commit is pushed after this many months of traffic (July); in short demos, one month before the last."""

START_SECONDS = 180.0
"""Longest wait for a run to start on its own."""
RUN_SECONDS = 600.0
"""Longest wait for a run to end."""

COMMIT_MESSAGE = "Smoother trees: smaller steps, larger leaves, some regularization"
COMMIT_CHANGES = {
    "model.py": {
        "learning_rate: float = 0.1": "learning_rate: float = 0.05",
        "smallest_leaf: int = 20": "smallest_leaf: int = 100",
        "regularization: float = 0.0": "regularization: float = 10.0",
    }
}


class View(Protocol):
    """Where the demo's progress is shown."""

    def status(self, text: str) -> None:
        """Show what is in progress."""

    def event(self, text: str) -> None:
        """Report an event."""

    def month(self, row: dict[str, Any]) -> None:
        """Report a finished month."""


@dataclass
class Story:
    """The demo's loop; each step is executed once, however often the demo is started."""

    home: Path
    lake: Path
    spec: ModelSpec
    installation: Installation
    airflow: AirflowClient
    sender: Sender
    progress: Progress
    view: View
    year: Path
    months: list[str]
    rows_per_month: int

    @property
    def commit_month(self) -> str | None:
        """The month after which the second commit is pushed; None in demos of fewer than four months."""
        count = len(self.months)
        return self.months[min(COMMIT_AFTER, count - 1) - 1] if count >= 4 else None

    def first_release(self) -> None:
        """From the first commit to the first version in production."""
        commit = self.progress.steps["commit/first"]["result"]
        self._from_commit("first", commit, "first commit", None)

    def live(self) -> None:
        """Run all months, one after another."""
        for number, month in enumerate(self.months):
            later = self.months[number + 1] if number + 1 < len(self.months) else month
            row = self.one_month(month, later)
            self.view.month(row)
            if month == self.commit_month and not self.progress.done("release/second"):
                self._second_commit(later)

    def one_month(self, month: str, later: str) -> dict[str, Any]:
        """Run a month: its traffic, ground truth and health, and the retraining that it may start."""
        once, prefix = self.progress.once, f"month/{month}"
        self.view.status(f"{month}: requesting predictions for flights")
        once(f"{prefix}/traffic", lambda: self._traffic(month))
        once(f"{prefix}/arrival", lambda: flights_data.arrive(self.year, self.lake, month))
        self.view.status(f"{month}: {MODEL}.monitoring is measuring the month")
        once(f"{prefix}/monitoring", lambda: self._monitor(month))
        self.view.status(f"{month}: {MODEL}.retraining is evaluating the health")
        verdict = once(f"{prefix}/retraining", lambda: self._retraining(month))
        if verdict["incident"]:
            once(f"{prefix}/release", lambda: self._retrain(month, verdict, later))
        return self.summary(month)

    def summary(self, month: str) -> dict[str, Any]:
        """The month's row of the table."""
        steps = {name: self.progress.steps.get(f"month/{month}/{name}", {}).get("result") or {} for name in
                 ("traffic", "monitoring", "retraining", "release")}  # fmt: skip
        health = steps["monitoring"].get("health", {})
        return {
            "month": month,
            **health,
            "requests": steps["traffic"].get("requests"),
            "failed_requests": steps["traffic"].get("failed", 0),
            "verdict": steps["retraining"].get("verdict"),
            "incident": steps["retraining"].get("incident"),
            "retrained": steps["release"] or None,
            "seconds": self.progress.seconds(f"month/{month}"),
        }

    # the steps

    def _traffic(self, month: str) -> dict[str, Any]:
        traffic = Traffic()
        rows = self._shuffled(month).head(self.rows_per_month)
        self.sender.send(rows, f"demo-{month}", seed=int(month[-2:]), traffic=traffic)
        self.view.event(
            f"{month}: {traffic.rows} flights in {traffic.requests} requests, {traffic.failed} failed"
            + (f" ({traffic.failures[0]})" if traffic.failures else "")
        )
        return traffic.as_dict()

    def _monitor(self, month: str) -> dict[str, Any]:
        dag = f"{MODEL}.monitoring"
        run = self.airflow.trigger(dag, f"demo__{month}", {"window": month}, f"The demo: {month} is over.")
        run = self.airflow.await_end(dag, run["dag_run_id"], RUN_SECONDS)
        row = next(row for row in self.installation.store.health(MODEL) if row.window == month)
        figure = row.live_figure(row.metric) or QualityFigure(None)
        health = {
            "live_version": row.live_version,
            "versions": list(row.versions),
            "metric": row.metric,
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "rows": figure.n,
            "reference": row.reference.get(row.metric),
            "drifted": list(row.drift.drifted),
        }
        return {"health": health, "stages": [self._stage("monitoring", dag, run, month=month, metrics=health)]}

    def _retraining(self, month: str) -> dict[str, Any]:
        dag = f"{MODEL}.retraining"
        source = f"demo__{month}"
        run = self._caused(dag, f"{MODEL}.monitoring", source)
        run = self.airflow.await_end(dag, run["dag_run_id"], RUN_SECONDS)
        degraded = self.airflow.result(dag, run["dag_run_id"], "degraded_health") or {}
        verdict, incident = self._verdict(degraded), degraded.get("incident")
        self.view.event(f"{month}: {verdict.answer}: {verdict.reason}")
        stage = self._stage("retraining", dag, run, month=month, verdict=verdict.as_dict(), incident=incident)
        return {"incident": incident, "verdict": verdict.as_dict(), "stages": [stage]}

    def _verdict(self, degraded: dict[str, Any]) -> Verdict:
        """The policy's verdict: as returned by the sensor or, if it was skipped, by applying the policy again."""
        if degraded:
            return Verdict("fail", degraded["reason"], degraded["signals"])
        return decide(self.installation, self.spec).verdict

    def _retrain(self, month: str, verdict: dict[str, Any], later: str) -> dict[str, Any]:
        """Follow an incident's training, and the release it may lead to, under traffic of the next month."""
        dag, run_id = f"{MODEL}.training", f"incident__{verdict['incident']}"

        def go(background: BackgroundTraffic) -> dict[str, Any]:
            self.airflow.await_for(lambda: self.airflow.run(dag, run_id), START_SECONDS, f"{dag} {run_id}")
            return self._train_and_deploy(run_id, f"incident {verdict['incident']}", month, background)

        return self._under_traffic(later, f"demo-incident-{month}", go)

    def _second_commit(self, later: str) -> None:
        self.view.status("pushing a second commit")
        bare = self.home / "repositories" / f"{MODEL}.git"
        commit = self.progress.once(
            "commit/second",
            lambda: repository.change(bare, COMMIT_MESSAGE, COMMIT_CHANGES, self.spec.repository.branch),
        )
        self.view.event(f"commit {commit[:12]}: {COMMIT_MESSAGE}")
        self._from_commit("second", commit, "second commit", later)

    def _from_commit(self, name: str, commit: str, why: str, later: str | None) -> None:
        def go(background: BackgroundTraffic | None) -> dict[str, Any]:
            stages = self.progress.once(f"ci/{name}", lambda: self._ci(commit, why))
            training = self._caused(f"{MODEL}.training", f"{MODEL}.ci", stages[0]["run_id"])
            return self._train_and_deploy(training["dag_run_id"], why, self._month_of(later), background)

        def release() -> dict[str, Any]:
            return go(None) if later is None else self._under_traffic(later, f"demo-commit-{name}", go)

        self.progress.once(f"release/{name}", release)

    def _month_of(self, later: str | None) -> str:
        return FIRST_MONTHS[-1] if later is None else self.commit_month or later

    def _ci(self, commit: str, why: str) -> list[dict[str, Any]]:
        dag = f"{MODEL}.ci"
        self.view.status(f"{dag}: waiting for commit {commit[:12]}")
        run = self.airflow.await_caused(
            dag,
            lambda event: ((event.get("extra") or {}).get("payload") or {}).get("commit") == commit,
            START_SECONDS,
            f"commit {commit[:12]}",
        )
        self.view.status(f"{dag}: checking commit {commit[:12]}")
        run = self.airflow.await_end(dag, run["dag_run_id"], RUN_SECONDS)
        stage = self._stage("ci", dag, run, why=why, commit=commit)
        self.view.event(f"{dag}: commit {commit[:12]} passed in {stage['seconds']:.1f} s")
        return [stage]

    def _train_and_deploy(
        self, run_id: str, why: str, month: str, background: BackgroundTraffic | None
    ) -> dict[str, Any]:
        dag = f"{MODEL}.training"
        self.view.status(f"{dag}: training a candidate ({why})")
        run = self.airflow.await_end(dag, run_id, RUN_SECONDS)
        verdict = self.airflow.result(dag, run_id, "compare_with_champion")
        version = str(self.airflow.result(dag, run_id, "register_candidate")["version"])
        stage = self._stage(
            "training", dag, run, why=why, month=month, version=version, verdict=verdict, metrics=verdict["signals"]
        )
        promoted = verdict["answer"] == "pass"
        self.view.event(f"{dag}: version {version} in {stage['seconds']:.1f} s; {verdict['reason']}")
        released = {"version": version, "promoted": promoted, "verdict": verdict, "why": why, "month": month}
        if not promoted:
            return {**released, "replaced": None, "stages": [stage]}
        replaced = self.installation.store.release(MODEL, "production").champion
        if background is not None:
            background.pause = BUSY_SECONDS
        dag = f"{MODEL}.deployment"
        self.view.status(f"{dag}: deploying version {version} through test and canary to production")
        deployment = self._caused(dag, f"{MODEL}.training", run_id)
        run = self.airflow.await_end(dag, deployment["dag_run_id"], RUN_SECONDS)
        self._require_live(version, dag, run)
        images = self._images(dag, run)
        end = self._stage("deployment", dag, run, why=why, month=month, version=version, **images)
        self.view.event(f"{dag}: version {version} is in production after {end['seconds']:.1f} s")
        return {**released, "replaced": replaced if replaced != version else None, "stages": [stage, end], **images}

    def _require_live(self, version: str, dag: str, run: Run) -> None:
        """Check what serves: a release is only reported once it has all of production's traffic."""
        release = self.installation.store.release(MODEL, "production")
        if release.champion != version or dict(release.weights) != {version: 100}:
            raise RunFailedError(
                f"{dag}, run {run['dag_run_id']}, ended, but version {version} is not in production: champion is "
                f"{release.champion}, traffic {dict(release.weights)} ({release.note}). Look at the run in the web UI."
            )

    def _images(self, dag: str, run: Run) -> dict[str, str]:
        """The image in production, if servers are containers; it must be the image that was tested."""
        images = {
            environment: self.airflow.result(dag, run["dag_run_id"], task).get("image")
            for environment, task in {"test": "deploy_to_test", "production": "promote_release"}.items()
        }
        if images["test"] != images["production"]:
            raise RunFailedError(
                f"{dag}, run {run['dag_run_id']}: production runs a different image from the tested one: {images}."
            )
        return {"image": images["production"]} if images["production"] else {}

    def _under_traffic(
        self, month: str, name: str, go: Callable[[BackgroundTraffic], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run ``go`` while requests for flights of ``month`` are sent in the background."""
        rest = self._shuffled(month).iloc[self.rows_per_month :]
        # Two releases may share a month: each uses every second one of the remaining flights.
        rest = rest.iloc[1::2] if "commit" in name else rest.iloc[::2]
        traffic = Traffic()
        with BackgroundTraffic(self.sender, rest, name, traffic) as background:
            result = go(background)
        if traffic.failed:
            self.view.event(
                f"{traffic.failed} of {traffic.requests} requests failed during the rollout: {traffic.failures}"
            )
        return {**result, "traffic": traffic.as_dict()}

    def _caused(self, dag: str, source_dag: str, source_run: str) -> Run:
        return self.airflow.await_caused(
            dag,
            lambda event: event.get("source_dag_id") == source_dag and event.get("source_run_id") == source_run,
            START_SECONDS,
            f"{source_dag} {source_run}",
        )

    def _stage(self, stage: str, dag: str, run: Run, **more: Any) -> dict[str, Any]:
        started, ended = pd.Timestamp(run["start_date"]), pd.Timestamp(run["end_date"])
        return {
            "stage": stage,
            "dag_id": dag,
            "run_id": run["dag_run_id"],
            "state": run["state"],
            "started": run["start_date"],
            "ended": run["end_date"],
            "seconds": round((ended - started).total_seconds(), 2),
            **more,
        }

    def _shuffled(self, month: str) -> pd.DataFrame:
        """The month's flights in a fixed random order: the first are its traffic, the rest is for canaries."""
        return flights_data.read_month(self.year, month).sample(frac=1, random_state=int(month.replace("-", "")))
