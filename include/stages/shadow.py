"""Replays production's newest logged requests into a version in the test environment, where no client is involved."""

from __future__ import annotations

from include.adapters.data.logged_requests import newest_requests
from include.core.errors import EvergreenError
from include.core.release.shadow import Replay, judge_replay
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.installation import Installation
from include.stages.verification import client_in_test


def replay_requests(installation: Installation, spec: ModelSpec, version: str) -> Verdict:
    """The verdict on the replay of ``deployment.shadow.requests`` requests; nothing of it is logged.

    The version gets its own features; those that production's version did not have are missing.
    """
    limits = spec.deployment
    champion = installation.store.release(spec.name, "production").champion or ""
    installation.engine.fetch_predictions(spec.name)
    folder = installation.settings.prediction_log / spec.name
    logged = newest_requests(folder, champion, limits.shadow.requests, limits.canary.rows_at_least)
    client, own = client_in_test(installation, spec, version), installation.registry.spec(spec, version)
    failures, recorded, predicted = [], [], []
    for number, request in enumerate(logged):
        recorded += request.predictions
        try:
            predicted += client.predict(own, request.rows, f"shadow-{number}")
        except (EvergreenError, ValueError) as error:  # ValueError: a value that is not of the feature's new type
            failures.append(str(error))
    return judge_replay(limits, Replay(len(logged), failures, recorded, predicted))
