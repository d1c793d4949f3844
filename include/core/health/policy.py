"""When degraded health starts a retraining: a pure function of the health history.

The verdict answers:

* ``fail``: health failed, and a retraining starts. The newest window and at least ``degradation.breaches`` of the
  newest ``degradation.windows`` windows are worse than the live version was on its holdout by more than
  ``degradation.drop``;
* ``pass``: the newest window is within the drop;
* ``hold``: not known (the newest window is missing, or not enough windows are beyond the drop yet), or not now
  (cooling down after an incident, budget spent, or a release that the history does not show yet).

A window is *missing*, neither healthy nor beyond the drop, unless it is complete and the live version has at least
``monitoring.rows_at_least`` predictions with truth in it, a value of the metric, and a reference. A partial window is
missing even with many rows: truth that arrives early is seldom a fair sample of all. Windows of an earlier live version
say nothing about the present one and do not count.

The newest window is the newest one that is complete or whose truth is due. Younger ones are waited for, not missed:
else a model whose truth takes longer than a window would never be judged.

The incident is keyed by model and window, so a window asks for the same retraining however often it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.core.windows import windows_before

Health = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """What the policy says, and the incident that a ``fail`` opens (or that is open for this window already)."""

    verdict: Verdict
    incident: str | None = None
    window: str | None = None
    """Newest window that was judged."""


def evaluate_policy(
    spec: ModelSpec,
    history: Iterable[Health],
    incidents: Iterable[Mapping[str, Any]],
    *,
    live_version: str | None = None,
) -> Decision:
    """Judge the newest window of ``history`` (health rows) in the light of the ones before and of past incidents.

    ``incidents`` are rows with ``window``. ``live_version`` is what serves now, where that is known: a newer
    release than the one of the newest window has not been measured yet, so its predecessor's breaches hold.
    """
    by_window = {row["window"]: row for row in history}
    ripe = [window for window, row in by_window.items() if row.get("due", True) or row.get("status") == "complete"]
    if not ripe:
        return Decision(Verdict("hold", "no window has been measured yet whose truth is due"))
    newest = max(ripe)
    row = by_window[newest]
    live = row.get("live_version")
    problem = _missing(row, spec)
    if problem:
        return Decision(Verdict("hold", f"window {newest}: {problem}", {"window": newest}), window=newest)
    recent = [by_window.get(key) for key in windows_before(newest, spec.monitoring.window, spec.degradation.windows)]
    judged = [r for r in recent if r and r.get("live_version") == live and not _missing(r, spec)]
    beyond = [r["window"] for r in judged if _worse_by(r, spec) > spec.degradation.drop]
    signals = _signals(row, spec, judged, beyond)
    if newest not in beyond:
        return Decision(Verdict("pass", f"window {newest} is within the allowed drop", signals), window=newest)
    reason = (
        f"{spec.metrics.primary} of version {live} is beyond the allowed drop of {spec.degradation.drop:g} in "
        f"{len(beyond)} of the newest {spec.degradation.windows} windows ({', '.join(beyond)})"
    )
    serving = live_version or by_window[max(by_window)].get("live_version")
    obstacle = _obstacle(spec, newest, beyond, [i["window"] for i in incidents], live, serving)
    if obstacle:
        return Decision(Verdict("hold", f"{reason}; {obstacle}", signals), window=newest)
    return Decision(Verdict("fail", reason, signals), incident_key(spec.name, newest), newest)


def replay(spec: ModelSpec, history: Sequence[Health]) -> list[dict[str, Any]]:
    """The incidents that the policy would have opened, window by window: incident, window, verdict.

    The history says which version served when; a different policy would have changed that, so this is
    exact for the recorded policy and an estimate for others.
    """
    ordered = sorted(history, key=lambda row: row["window"])
    found: list[dict[str, Any]] = []
    for count in range(1, len(ordered) + 1):
        decision = evaluate_policy(spec, ordered[:count], found)
        if decision.incident and decision.incident not in [known["incident"] for known in found]:
            verdict = decision.verdict.as_dict()
            found.append({"incident": decision.incident, "window": decision.window, "verdict": verdict})
    return found


def incident_key(model: str, window: str) -> str:
    """``flights-2013-05``: the stable key of the episode that this window confirmed."""
    return f"{model}-{window}"


def threshold(row: Health, spec: ModelSpec) -> float | None:
    """The value of the primary metric beyond which a window is degraded, from its live version's reference."""
    reference = (row.get("reference") or {}).get(spec.metrics.primary)
    if reference is None:
        return None
    return reference - spec.degradation.drop if spec.higher_is_better else reference + spec.degradation.drop


def _obstacle(
    spec: ModelSpec, newest: str, beyond: list[str], incidents: list[str], live: str | None, serving: str | None
) -> str | None:
    """Why a window beyond the drop starts nothing (yet)."""
    policy, grain = spec.degradation, spec.monitoring.window
    if len(beyond) < policy.breaches:
        return f"{policy.breaches} are needed"
    if serving is not None and str(serving) != str(live):
        return f"version {serving} serves now and has not been measured yet"
    if any(window > newest for window in incidents):
        return "a later window has had an incident already"
    cooling = set(windows_before(newest, grain, policy.cooldown_windows + 1)[:-1]) & set(incidents)
    if cooling:
        return f"cooling down after the incident of {max(cooling)}"
    spent = set(windows_before(newest, grain, policy.budget_windows)[:-1]) & set(incidents)
    if len(spent) >= policy.budget:
        return (
            f"the budget of {policy.budget} retrainings in {policy.budget_windows} windows is spent. "
            "Look at why retraining does not help, or raise degradation.budget"
        )
    return None


def _missing(row: Health, spec: ModelSpec) -> str | None:
    """Why the window can't be judged; None when it can."""
    if row.get("status") != "complete":
        return row.get("truth_problem") or f"is {row.get('status', 'not measured')}"
    figure = _figure(row, spec)
    if figure.get("value") is None:
        return figure.get("reason") or f"has no {spec.metrics.primary}"
    needed = spec.monitoring.rows_at_least
    if figure.get("n", 0) < needed:
        return f"has {figure.get('n', 0)} predictions with truth, {needed} are needed"
    if threshold(row, spec) is None:
        return f"version {row.get('live_version')} has no {spec.metrics.primary} of its holdout to compare with"
    return None


def _figure(row: Health, spec: ModelSpec) -> Mapping[str, Any]:
    """The primary metric of the live version in this window."""
    return (row.get("by_version") or {}).get(row.get("live_version") or "", {}).get(spec.metrics.primary) or {}


def _worse_by(row: Health, spec: ModelSpec) -> float:
    return spec.worse_by(_figure(row, spec)["value"], row["reference"][spec.metrics.primary])


def _signals(row: Health, spec: ModelSpec, judged: list[Health], beyond: list[str]) -> dict[str, Any]:
    return {
        "window": row["window"],
        "version": row["live_version"],
        "metric": spec.metrics.primary,
        "value": _figure(row, spec)["value"],
        "reference": row["reference"][spec.metrics.primary],
        "drop": spec.degradation.drop,
        "judged": [r["window"] for r in judged],
        "beyond": beyond,
    }
