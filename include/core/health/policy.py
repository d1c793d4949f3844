"""When degraded health starts a retraining: a pure function of the health history.

The verdict answers:

* ``fail``: health has degraded, and a retraining starts. The newest window and at least ``degradation.breaches`` of the
  newest ``degradation.windows`` windows are worse than the live version's reference by more than ``degradation.drop``.
  So is the mean of its newest windows, and that by more than chance explains (``degradation.confidence``). References
  are the version's holdout and, as soon as they are known, its first windows (:mod:`include.core.health.chance`);
* ``pass``: the newest window is within the allowed drop;
* ``hold``: unknown (the newest window is missing, too few windows are beyond the drop yet, or that may be chance), or
  not now (cooling down after an incident, budget spent, or a new release that has not been measured yet).

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

from include.core.health.degradation import Judged, find_degradation, judge_window
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
    """How much worse the live version is than its reference, in the comparison that shows it most clearly; None if the
    window can't be judged."""
    limit: float | None = None
    """What this must exceed to be degradation: the allowed drop, or what chance explains; None if unknown."""

    def as_incident(self) -> Incident | None:
        """The incident to open, or None."""
        if self.incident is None or self.window is None:
            return None
        return Incident(self.incident, self.window, self.verdict)


def evaluate_policy(
    spec: ModelSpec,
    history: Iterable[HealthRow | WindowSummary],
    incidents: Iterable[Incident],
    *,
    live_version: str | None = None,
) -> Decision:
    """Judge the newest window of ``history``, given earlier windows and past incidents, in any order.

    ``live_version`` is the version that serves now, if known: while a release newer than the newest window's has not
    been measured yet, its predecessor's breaches only hold.
    """
    by_window = {row.window: _summary(row, spec) for row in history}
    ripe = [row.window for row in by_window.values() if row.due or row.status == "complete"]
    if not ripe:
        return Decision(Verdict("hold", "no measured window has its ground truth due yet"))
    newest = max(ripe)
    row = by_window[newest]
    now = judge_window(spec, row)
    if isinstance(now, str):
        return Decision(Verdict("hold", f"window {newest}: {now}", {"window": newest}), window=newest)
    own = (one for key, one in sorted(by_window.items()) if key <= newest and one.version == row.version)
    judged = [one for one in (judge_window(spec, each) for each in own) if isinstance(one, Judged)]
    found = find_degradation(spec, judged)
    signals: dict[str, Signal] = {"window": newest, "version": row.version, "metric": spec.metrics.primary}
    signals |= found.signals
    if found.within:
        verdict = Verdict("pass", f"window {newest} is within the allowed drop", signals)
        return Decision(verdict, None, newest, found.worse_by, found.limit)
    reason = f"{spec.metrics.primary} of version {row.version} {found.found}"
    serving = live_version or by_window[max(by_window)].version
    released = serving if serving != row.version else None
    obstacle = found.doubt or _obstacle(spec, newest, {incident.window for incident in incidents}, released)
    if obstacle:
        return Decision(Verdict("hold", f"{reason}; {obstacle}", signals), None, newest, found.worse_by, found.limit)
    verdict = Verdict("fail", reason, signals)
    return Decision(verdict, incident_key(spec.name, newest), newest, found.worse_by, found.limit)


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


def _summary(row: HealthRow | WindowSummary, spec: ModelSpec) -> WindowSummary:
    return row if isinstance(row, WindowSummary) else WindowSummary.of(row, spec.metrics.primary)


def _obstacle(spec: ModelSpec, newest: str, incidents: Collection[str], released: str | None) -> str | None:
    """Why degradation does not start a retraining now.

    ``incidents``: the windows of past incidents; ``released``: the version that serves now, if not the window's.
    """
    policy, grain = spec.degradation, spec.monitoring.window
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
