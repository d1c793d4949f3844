"""When degraded health starts a retraining: a pure function of the health history.

The verdict answers:

* ``fail``: health has degraded, and a retraining starts. The newest window and at least ``degradation.breaches`` of the
  newest ``degradation.windows`` windows are worse than the live version was on its holdout by more than
  ``degradation.drop``;
* ``pass``: the newest window is within the allowed drop;
* ``hold``: unknown (the newest window is missing, or too few windows are beyond the drop yet), or not now (cooling down
  after an incident, budget spent, or a new release that has not been measured yet).

A window is *missing*, neither healthy nor beyond the drop, unless it is complete and the live version has at least
``monitoring.rows_at_least`` predictions with ground truth in it, a value of the metric, and a reference. A partial
window is missing even with many rows: ground truth that arrives early is rarely a representative sample. Windows of an
earlier live version say nothing about the current one and do not count.

The newest window is the newest one that is complete or whose ground truth is due. Later ones are still pending, not
missing; otherwise a model whose ground truth takes longer than a window would never be judged.

The incident is keyed by model and window, so a window starts at most one retraining, however often it is judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from include.core.health.record import HealthRow, Incident
from include.core.health.summary import WindowSummary
from include.core.json_types import Signal
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.core.windows import Grain, window_bounds, window_of, windows_before


@dataclass(frozen=True)
class Decision:
    """The policy's verdict, and the incident that a ``fail`` opens (or has already opened for this window)."""

    verdict: Verdict
    incident: str | None = None
    window: str | None = None
    """The judged window: the newest one that is complete or whose ground truth is due."""
    worse_by: float | None = None
    """The live version's drop from its holdout in that window; None if it can't be judged."""

    def as_incident(self) -> Incident | None:
        """The incident to open, or None."""
        if self.incident is None or self.window is None:
            return None
        return Incident(self.incident, self.window, self.verdict)


@dataclass(frozen=True)
class Judged:
    """A window that can be judged."""

    window: str
    value: float
    """The live version's primary metric."""
    reference: float
    """The metric on its holdout."""
    worse_by: float


def evaluate_policy(
    spec: ModelSpec,
    history: Iterable[HealthRow],
    incidents: Iterable[Incident],
    *,
    live_version: str | None = None,
) -> Decision:
    """Judge the newest window of ``history``, given earlier windows and past incidents.

    ``live_version`` is the version that serves now, if known: while a release newer than the newest window's has not
    been measured yet, its predecessor's breaches only hold.
    """
    by_window = {row.window: row for row in history}
    ripe = [row.window for row in by_window.values() if _is_ripe(row)]
    if not ripe:
        return Decision(Verdict("hold", "no measured window has its ground truth due yet"))
    newest = max(ripe)
    row = by_window[newest]
    now = _judge(row, spec)
    if isinstance(now, str):
        return Decision(Verdict("hold", f"window {newest}: {now}", {"window": newest}), window=newest)
    recent = [by_window.get(key) for key in windows_before(newest, spec.monitoring.window, spec.degradation.windows)]
    same_version = [_judge(one, spec) for one in recent if one and one.live_version == row.live_version]
    judged = [one for one in same_version if isinstance(one, Judged)]
    beyond = [one.window for one in judged if one.worse_by > spec.degradation.allowed(one.reference)]
    signals: dict[str, Signal] = {
        "window": newest,
        "version": row.live_version,
        "metric": spec.metrics.primary,
        "value": now.value,
        "reference": now.reference,
        "drop": spec.degradation.drop,
        "judged": [one.window for one in judged],
        "beyond": beyond,
    }
    if newest not in beyond:
        verdict = Verdict("pass", f"window {newest} is within the allowed drop", signals)
        return Decision(verdict, window=newest, worse_by=now.worse_by)
    reason = (
        f"{spec.metrics.primary} of version {row.live_version} is beyond the allowed drop of "
        f"{spec.degradation.drop} in {len(beyond)} of the newest {spec.degradation.windows} windows "
        f"({', '.join(beyond)})"
    )
    serving = live_version or by_window[max(by_window)].live_version
    released = serving if serving != row.live_version else None
    obstacle = _obstacle(spec, newest, beyond, {incident.window for incident in incidents}, released)
    if obstacle:
        return Decision(Verdict("hold", f"{reason}; {obstacle}", signals), window=newest, worse_by=now.worse_by)
    return Decision(Verdict("fail", reason, signals), incident_key(spec.name, newest), newest, now.worse_by)


def needed_history(spec: ModelSpec, newest_first: Iterable[HealthRow]) -> list[HealthRow]:
    """The rows that the policy needs, newest first; stops reading ``newest_first`` after them."""
    taken: list[HealthRow] = []
    oldest: str | None = None
    for row in newest_first:
        if oldest is not None and row.window < oldest:
            break
        taken.append(row)
        if oldest is None and _is_ripe(row):
            oldest = windows_before(row.window, spec.monitoring.window, spec.degradation.windows)[0]
    return taken


def replay(spec: ModelSpec, history: Sequence[HealthRow]) -> list[Incident]:
    """The incidents that the policy would have opened, window by window.

    The history records which version served when; a different policy would have changed that, so the result is exact
    for the recorded policy and an estimate for others.
    """
    ordered = sorted(history, key=lambda row: row.window)
    opened: dict[str, Incident] = {}
    for count in range(1, len(ordered) + 1):
        incident = evaluate_policy(spec, ordered[:count], opened.values()).as_incident()
        if incident:
            opened.setdefault(incident.key, incident)
    return list(opened.values())


def incident_key(model: str, window: str) -> str:
    """The stable key of the episode that this window confirmed, for example ``flights-2013-05``."""
    return f"{model}-{window}"


def threshold(row: HealthRow, spec: ModelSpec) -> float | None:
    """The value of the primary metric beyond which a window is degraded, from its live version's reference."""
    reference = row.reference.get(spec.metrics.primary)
    if reference is None:
        return None
    drop = spec.degradation.allowed(reference)
    return reference - drop if spec.higher_is_better else reference + drop


def _is_ripe(row: HealthRow) -> bool:
    return row.due or row.status == "complete"


def _obstacle(
    spec: ModelSpec, newest: str, beyond: list[str], incidents: Collection[str], released: str | None
) -> str | None:
    """Why a window beyond the drop does not start a retraining (yet).

    ``incidents``: the windows of past incidents; ``released``: the version that serves now, if not the window's.
    """
    policy, grain = spec.degradation, spec.monitoring.window
    if len(beyond) < policy.breaches:
        return f"{policy.breaches} are required"
    if released is not None:
        return f"version {released} serves now and has not been measured yet"
    if any(window > newest for window in incidents):
        return "a later window has already had an incident"
    cooling = set(windows_before(newest, grain, policy.cooldown_windows + 1)[:-1]) & set(incidents)
    if cooling:
        until = _window_after(max(cooling), grain, policy.cooldown_windows)
        return f"cooling down after the incident of {max(cooling)}, until window {until} is over"
    spent = set(windows_before(newest, grain, policy.budget_windows)[:-1]) & set(incidents)
    if len(spent) >= policy.budget:
        return (
            f"the budget of {policy.budget} retrainings in {policy.budget_windows} windows is spent. "
            "Look at why retraining does not help, or raise degradation.budget"
        )
    return None


def _window_after(window: str, grain: Grain, count: int) -> str:
    """The window ``count`` windows later."""
    for _ in range(count):
        window = window_of(window_bounds(window, grain)[1], grain)
    return window


def _judge(row: HealthRow, spec: ModelSpec) -> Judged | str:
    return judge_window(spec, WindowSummary.of(row, spec.metrics.primary))


def judge_window(spec: ModelSpec, window: WindowSummary) -> Judged | str:
    """How the live version did in this window, or why that can't be judged."""
    if window.problem:
        return f"could not be measured: {window.problem}"
    if window.status != "complete":
        return window.truth_problem or f"is {window.status}"
    if window.value is None or window.metric != spec.metrics.primary:
        return window.reason or f"has no {spec.metrics.primary}"
    needed = spec.monitoring.rows_at_least
    if window.rows < needed:
        return f"has {window.rows} predictions with ground truth; {needed} are required"
    fewest, of_class = window.fewest, spec.monitoring.class_rows_at_least
    if fewest is not None and fewest < of_class:
        return f"has {fewest} predictions of the rarer class; {of_class} are required"
    if window.reference is None:
        return f"version {window.version} has no {spec.metrics.primary} on its holdout to compare with"
    return Judged(window.window, window.value, window.reference, spec.worse_by(window.value, window.reference))
