"""Put the candidate into the model registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from evergreen.model_dags import spec_of
from evergreen.run_params import params_of
from include.core.run_params import TrainingParams


class RegisterCandidateOperator(BaseOperator):
    """Log the candidate as an MLflow run and make it the model's next version, alias ``challenger``.

    Promoted or not, each candidate is kept with its lineage: commit, build, snapshot, run and reason. Returns
    ``{"version", "verdict", "build"}``.

    :param model: name of the model.
    :param snapshot: hash of the snapshot.
    :param candidate: what :class:`TrainCandidateOperator` returned.
    :param verdict: what :class:`CompareWithChampionOperator` returned.
    :param reason: why the training ran; empty: what started the run.
    :param incident: the incident that it answers, if any.
    """

    template_fields = ("snapshot", "candidate", "verdict", "reason", "incident")
    ui_color = "#e3f1e6"

    def __init__(
        self,
        *,
        model: str,
        snapshot: str,
        candidate: Any,
        verdict: Any,
        reason: str,
        incident: str = "",
        **arguments: Any,
    ):
        super().__init__(**arguments)
        self.model = model
        self.snapshot = snapshot
        self.candidate = candidate
        self.verdict = verdict
        self.reason = reason
        self.incident = incident

    def execute(self, context: Any) -> dict[str, Any]:
        import json

        from include.adapters.data.snapshots import load_snapshot
        from include.stages.installation import open_installation
        from include.stages.training import complete_bundle

        spec, run_id = spec_of(self.model), context["dag_run"].run_id
        reason = self.reason or _what_started(context, self.model)
        folder, snapshot = Path(self.candidate["folder"]), load_snapshot(self.model, self.snapshot)
        lineage = {
            "model": self.model,
            "build": self.candidate["build"],
            "commit": self.candidate["commit"],
            "snapshot": snapshot.hash,
            "window": snapshot.window,
            "windows": list(snapshot.partitions),
            "run_id": run_id,
            "reason": reason,
            "incident": self.incident or None,
        }
        bundle = complete_bundle(spec, folder, snapshot, lineage)
        figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        version = open_installation().registry.register(
            self.model,
            bundle,
            candidate=run_id,
            metrics=_values(figures["quality"]),
            parameters={
                **spec.training.parameters,
                **params_of(context, TrainingParams).parameters,
                "rows": snapshot.rows,
            },
            tags={name: str(value) for name, value in lineage.items() if value}
            | {"verdict": self.verdict["answer"], "verdict_reason": self.verdict["reason"]},
            description=f"{reason}: {self.verdict['reason']}",
        )
        open_installation().registry.set_alias(self.model, "challenger", version)
        self.log.info("version %s is registered (%s)", version, self.verdict["reason"])
        return {"version": version, "verdict": self.verdict["answer"], "build": self.candidate["build"]}


def _what_started(context: Any, model: str) -> str:
    things = sorted({asset.name.removeprefix(f"{model}/") for asset in context.get("triggering_asset_events") or {}})
    return f"new {' and '.join(things)}" if things else "by hand"


def _values(quality: Mapping[str, Any]) -> dict[str, float]:
    """Metric name → value, with the ends of its interval as ``<name>_low`` and ``<name>_high``."""
    values = {}
    for name, figure in quality.items():
        for end, key in (("value", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
            if figure.get(end) is not None:
                values[key] = float(figure[end])
    return values
