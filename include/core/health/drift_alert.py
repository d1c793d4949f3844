"""When drift is reported to people: not at the first window, but at the k-th of the newest n that have drifted.

Without drift, a share of ``monitoring.drift_false_alarm_rate`` of windows is reported as drifted all the same: of daily
windows and a rate of 5 %, 18 a year. So the alert *ModelDrifted* also needs ``monitoring.drift_breaches`` of the newest
``monitoring.drift_windows`` windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from include.core.health.record import HealthRow
from include.core.spec import ModelSpec
from include.core.windows import Grain, windows_before

WINDOWS_A_YEAR: dict[Grain, float] = {"day": 365.25, "week": 365.25 / 7, "month": 12.0}


def drift_alert(spec: ModelSpec, history: Sequence[HealthRow]) -> bool | None:
    """Whether the newest window and enough of those before it have drifted; None if the newest could not be judged.

    ``history`` is oldest first. Windows of an earlier live version were compared with another reference, so they don't
    count, and neither do windows that are missing or could not be judged.
    """
    if not history or history[-1].drift.status not in ("steady", "drifted"):
        return None
    newest, rules = history[-1], spec.monitoring
    recent = set(windows_before(newest.window, rules.window, rules.drift_windows))
    drifted = [
        row
        for row in history
        if row.window in recent and row.live_version == newest.live_version and row.drift.status == "drifted"
    ]
    return newest.drift.status == "drifted" and len(drifted) >= rules.drift_breaches


def false_windows_a_year(spec: ModelSpec) -> float:
    """How many windows of a year are reported as drifted although nothing has changed."""
    return WINDOWS_A_YEAR[spec.monitoring.window] * spec.monitoring.drift_false_alarm_rate


def false_alerts_a_year(spec: ModelSpec) -> float:
    """How many alerts of drift begin in a year although nothing has changed; exact if windows are independent.

    An alert begins at a window at which :func:`drift_alert` is true and was not one window before.
    """
    rules, rate = spec.monitoring, spec.monitoring.drift_false_alarm_rate
    begins = 0.0
    for windows in product((False, True), repeat=rules.drift_windows + 1):
        now = windows[-1] and sum(windows[1:]) >= rules.drift_breaches
        before = windows[-2] and sum(windows[:-1]) >= rules.drift_breaches
        if now and not before:
            drifted = sum(windows)
            begins += rate**drifted * (1 - rate) ** (len(windows) - drifted)
    return WINDOWS_A_YEAR[rules.window] * begins
