"""Replays production's newest logged requests into a version in the test environment, where no client is involved."""

from __future__ import annotations

from collections.abc import Sequence

from include.adapters.data.logged_requests import LoggedRequest, newest_requests
from include.core.errors import EvergreenError
from include.core.release.shadow import Replay, judge_replay
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.installation import Installation
from include.stages.verification import client_in_test

COMPARED_AT_LEAST = 200
"""How many requests are replayed to compare predictions, if the log has so many."""


def replay_requests(installation: Installation, spec: ModelSpec, version: str) -> Verdict:
    """The verdict on the replay of ``deployment.shadow.requests`` requests; nothing of it is logged.

    The version gets its own features; those that production's version did not have are missing.
    """
    return replay(installation, spec, version, logged_requests(installation, spec, spec.deployment.shadow.requests))


def requests_to_compare(installation: Installation, spec: ModelSpec) -> list[LoggedRequest]:
    """The requests by which a canary's predictions are compared with production's."""
    limits = spec.deployment
    count = max(limits.shadow.requests, limits.canary.requests_at_least, COMPARED_AT_LEAST)
    return logged_requests(installation, spec, count)


def logged_requests(installation: Installation, spec: ModelSpec, count: int) -> list[LoggedRequest]:
    """The newest requests that production's version has answered."""
    champion = installation.store.release(spec.name, "production").champion or ""
    installation.engine.fetch_predictions(spec.name)
    folder = installation.settings.prediction_log / spec.name
    return newest_requests(folder, champion, count, spec.deployment.canary.rows_at_least)


def replay(installation: Installation, spec: ModelSpec, version: str, logged: Sequence[LoggedRequest]) -> Verdict:
    """The verdict on these requests, sent to the version's server in the test environment."""
    client, own = client_in_test(installation, spec, version), installation.registry.spec(spec, version)
    failures: list[str] = []
    recorded: list[float] = []
    predicted: list[float] = []
    known = {name for request in logged for row in request.rows[:1] for name in row}
    for number, request in enumerate(logged):
        try:
            predicted += client.predict(own, request.rows, f"shadow-{number}")
        except (EvergreenError, ValueError) as error:  # ValueError: a value that is not of the feature's new type
            failures.append(str(error))
        else:
            recorded += request.predictions
    missing = [name for name in own.feature_names if name not in known] if known else []
    return judge_replay(spec.deployment, Replay(len(logged), failures, recorded, predicted, missing))
