"""Moves a version through the test environment and a canary into production, one safe step at a time.

Each function writes the desired state by compare-and-swap and lets the reconciler act on it, so that it can be called
again after a crash and resumes where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from include.adapters.engines.contract import RunningServer
from include.core.errors import DeploymentConflictError, EvergreenError, PlatformError, RunRefusedError
from include.core.release.canary import judge_canary
from include.core.release.checks import RolloutCheck
from include.core.release.release import Release
from include.core.release.rollout import Rollout
from include.core.release.server_figures import ServerFigures
from include.core.release.shadow import nothing_to_compare
from include.core.run_params import check_verdict, check_version
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.stages.approval import require_approval
from include.stages.choices import renew_choices
from include.stages.installation import Installation
from include.stages.reconciler import reconcile
from include.stages.shadow import replay, requests_to_compare
from include.stages.verification import client_of

LEASE_MINUTES = 10
"""This long after a step's own time limit, another deployment may take over from a run that died."""
RESUMED_AT_MOST = 3
"""How often a step of a canary begins again after a restart of the platform; servers that keep restarting fail it."""


@dataclass(frozen=True)
class Choice:
    """What a deployment run deploys."""

    version: str
    champion: str | None
    """The version in production so far."""
    already_serves: bool
    """Whether the version already has all production traffic, so that nothing needs to be deployed."""
    overridden: str = ""
    """Why promotion refused the version, if it is deployed all the same."""


def choose_version(
    installation: Installation, spec: ModelSpec, *, requested: str = "", offered: str | None = None, force: bool = False
) -> Choice:
    """The version to deploy: the requested one, else the offered one, else the newest promoted one.

    Raises RunRefusedError if there is none, if the requested one is not in the registry, or, without ``force``, if it
    did not pass promotion. A version that already serves is reconciled again.
    """
    tags: Mapping[str, str] = {"verdict": "pass"}
    if requested:
        known = {str(version.version): version.tags for version in installation.registry.versions(spec.name)}
        chosen = check_version(requested, list(known))
        tags = known[chosen]
    else:
        chosen = offered or _newest_promoted(installation, spec)
        installation.registry.version(spec.name, chosen)
    release = installation.store.release(spec.name, "production")
    already_serves = release.champion == chosen and not release.rollout
    if already_serves:
        reconcile(installation, spec, "production")
        return Choice(chosen, release.champion, already_serves)
    refusal = check_verdict(chosen, tags.get("verdict", ""), tags.get("verdict_reason", ""), force=force)
    return Choice(chosen, release.champion, already_serves, refusal)


def deploy_to_test(installation: Installation, spec: ModelSpec, version: str, run: str) -> RunningServer:
    """Make ``version`` the only version in the test environment; returns its server once it is ready.

    Raises DeploymentConflictError while another run uses the test environment.
    """
    before = installation.store.release(spec.name, "test")
    _refuse_other_run(spec, before, run)
    if not _owned(before, run) or dict(before.weights) != {version: 100}:
        rollout = Rollout(run, version, lease=time.time() + LEASE_MINUTES * 60)
        note = f"test of {version} by {run}"
        after = replace(before, revision=before.revision + 1, weights={version: 100}, rollout=rollout, note=note)
        installation.store.swap_release(before, after)
    reconcile(installation, spec, "test")
    return installation.engine.servers(spec.name, "test")[version]


def clear_test(installation: Installation, spec: ModelSpec, run: str) -> None:
    """Stop the server of ``run`` in the test environment; another run's server keeps running."""
    before = installation.store.release(spec.name, "test")
    if _owned(before, run):
        note = f"test by {run} has ended"
        after = replace(before, revision=before.revision + 1, weights={}, rollout=None, note=note)
        installation.store.swap_release(before, after)
        reconcile(installation, spec, "test")


def start_canary(
    installation: Installation, spec: ModelSpec, version: str, run: str, *, shadowed: bool = False, overridden: str = ""
) -> Release:
    """Give ``version`` its first share of production's traffic, owned by ``run``.

    ``shadowed``: whether the replay of logged requests has passed. ``overridden``: why promotion refused the version,
    for the release's note.

    Raises DeploymentConflictError while another run's rollout is in progress, and GateError if the version lacks an
    approval that the spec requires. A rollout whose run died and whose lease has expired is abandoned first.
    """
    store = installation.store
    now = store.release(spec.name, "production")
    _refuse_other_run(spec, now, run)
    require_approval(installation, spec, version, run, now.champion)
    if now.rollout and not now.rollout.is_of(run):
        candidate = now.rollout.candidate
        now = store.swap_release(now, now.abandon(f"the lease of run {now.rollout.run} has expired"))
        if candidate != version:
            installation.registry.withdraw(spec.name, candidate)
    if not now.rollout:
        rollout = _canary_rollout(spec, run, version, step=0, shadowed=shadowed)
        share = spec.deployment.canary.steps[0]
        note = f"canary of {version} by {run}{_although(overridden)}"
        now = store.swap_release(now, now.begin_canary(version, share, rollout, note))
    reconcile(installation, spec, "production")
    return now


def watch_canary(installation: Installation, spec: ModelSpec, run: str) -> tuple[Verdict, bool]:
    """Judge the canary once: returns the verdict, and whether the canary has passed its last step.

    After a passed step, the next one starts; a failed step changes nothing here (the caller rolls back). The verdict is
    recorded as the step's newest.
    """
    now = installation.store.release(spec.name, "production")
    rollout = _owned(now, run)
    if rollout is None:
        raise DeploymentConflictError(f"{spec.name}: the rollout of run {run} was ended by another run ({now.note}).")
    verdict, finished = _judge_canary(installation, spec, now, rollout)
    share = now.weights.get(rollout.candidate, 0)
    check = RolloutCheck(run, f"canary step {rollout.step + 1}", rollout.candidate, verdict, share)
    installation.store.record_check(spec.name, check)
    return verdict, finished


def _judge_canary(installation: Installation, spec: ModelSpec, now: Release, rollout: Rollout) -> tuple[Verdict, bool]:
    if now.champion is None:
        return Verdict("pass", "first release: there is nothing in production to compare with"), True
    seconds = time.time() - rollout.since
    try:
        figures = _figures(installation, spec, now)
    except PlatformError as error:
        late = seconds > spec.deployment.canary.step_timeout_minutes * 60
        late = late and not _starting(installation, spec)
        return Verdict("fail" if late else "hold", f"figures are missing: {error}"), False
    if rollout.baseline is None:
        begun = replace(now, revision=now.revision + 1, rollout=rollout.measured(figures))
        installation.store.swap_release(now, begun)
        return Verdict("hold", f"step {rollout.step + 1} begins: {dict(now.weights)}"), False
    if _restarted_together(rollout, figures) and rollout.resumed < RESUMED_AT_MOST:
        again = replace(now, revision=now.revision + 1, rollout=rollout.begun_again(figures, time.time()))
        installation.store.swap_release(now, again)
        return Verdict("hold", f"all servers were restarted; step {rollout.step + 1} begins again"), False
    verdict = _judge_step(spec, now, rollout, figures, seconds)
    canary = spec.deployment.canary
    if verdict.passed and canary.predictions.required and not rollout.shadowed:
        compared = _compare_predictions(installation, spec, rollout, late=seconds > canary.step_timeout_minutes * 60)
        reason = f"{verdict.reason}; {compared.reason}" if compared.passed else compared.reason
        verdict = Verdict(compared.answer, reason, {**verdict.signals, **compared.signals})
    if not verdict.passed or rollout.step + 1 >= len(canary.steps):
        return verdict, verdict.passed
    step, replayed = rollout.step + 1, rollout.shadowed or canary.predictions.required
    following = _canary_rollout(spec, rollout.run, rollout.candidate, step, replayed)
    advanced = now.begin_canary(rollout.candidate, canary.steps[step], following, f"step {step + 1} of {rollout.run}")
    installation.store.swap_release(now, advanced)
    reconcile(installation, spec, "production")
    return verdict, False


def _compare_predictions(installation: Installation, spec: ModelSpec, rollout: Rollout, *, late: bool) -> Verdict:
    """The verdict on the candidate's predictions for rows that production has predicted.

    They are made in the test environment, whose server logs nothing, and which is cleared afterwards. What can't be
    compared is held, and fails once the step's time is up.
    """
    verdict = Verdict("hold", "the test environment was cleared while predictions were compared")
    try:
        logged = requests_to_compare(installation, spec)
        few = nothing_to_compare(
            spec.deployment.canary, len(logged), [each for one in logged for each in one.predictions]
        )
        if few:
            verdict = Verdict("hold", few)
        else:
            deploy_to_test(installation, spec, rollout.candidate, rollout.run)
            begun = installation.store.release(spec.name, "test")
            try:
                replayed = replay(installation, spec, rollout.candidate, logged)
                verdict = replayed if installation.store.release(spec.name, "test") == begun else verdict
            finally:
                clear_test(installation, spec, rollout.run)
    except EvergreenError as error:
        verdict = Verdict("hold", f"predictions could not be compared: {error}")
    return replace(verdict, answer="fail") if late and not verdict.passed else verdict


def promote(installation: Installation, spec: ModelSpec, version: str, run: str, *, overridden: str = "") -> Release:
    """Make ``version`` the champion with all traffic; the previous champion stays loaded as standby.

    ``overridden``: as for :func:`start_canary`.
    """
    now = installation.store.release(spec.name, "production")
    if now.champion != version or now.rollout:
        if not _owned(now, run):
            raise DeploymentConflictError(f"{spec.name}: run {run} owns no rollout ({now.note}). Deploy again.")
        note = f"{version} promoted by {run}{_although(overridden)}"
        now = installation.store.swap_release(now, now.promote(version, note))
    reconcile(installation, spec, "production")
    renew_choices(installation, spec.name, "versions", "releases")
    return now


def production_image(installation: Installation, spec: ModelSpec, version: str) -> str | None:
    """The image that the version's production server runs; None if servers are not containers."""
    return installation.engine.servers(spec.name, "production")[version].image


def owns_rollout(installation: Installation, spec: ModelSpec, run: str) -> bool:
    """Whether ``run`` owns the rollout in progress in production."""
    return _owned(installation.store.release(spec.name, "production"), run) is not None


def settle(installation: Installation, spec: ModelSpec, run: str, version: str | None = None) -> Release:
    """End the run's rollout, if it has one, so that only the champion serves.

    ``version``: what the run deployed, if known. Unless it is in production now, it is no longer the challenger; but it
    still is if the run could not try it because another run was deploying.
    """
    now = installation.store.release(spec.name, "production")
    rollout = _owned(now, run)
    if rollout:
        note = f"rolled back by {run}{_cause(installation, spec, run)}"
        now = installation.store.swap_release(now, now.abandon(note))
    reconcile(installation, spec, "production")
    ended = rollout.candidate if rollout else version if not _others_deploy(installation, spec, run) else None
    if ended and ended != now.champion:
        installation.registry.withdraw(spec.name, ended)
    return now


def was_rolled_back(release: Release, run: str) -> bool:
    """Whether :func:`settle` ended the canary of ``run``, in this or an earlier call."""
    return release.note.partition(": ")[0] == f"rolled back by {run}"


def _although(overridden: str) -> str:
    return f", although promotion refused it ({overridden})" if overridden else ""


def _cause(installation: Installation, spec: ModelSpec, run: str) -> str:
    """Why the run's rollout ended, for the note of the release; empty if no gate refused it."""
    failed = [check for check in installation.store.rollout_checks(spec.name, run) if check.verdict.answer == "fail"]
    return f": {failed[-1].stage}: {failed[-1].verdict.reason}" if failed else ""


def _newest_promoted(installation: Installation, spec: ModelSpec) -> str:
    for version in installation.registry.versions(spec.name):
        if version.tags.get("verdict") == "pass":
            return str(version.version)
    raise RunRefusedError(
        f"{spec.name}: no version has been promoted yet. Run {spec.name}.training first, or name a version."
    )


def _owned(release: Release, run: str) -> Rollout | None:
    """The release's rollout, if ``run`` owns it."""
    return release.rollout if release.rollout and release.rollout.is_of(run) else None


def _others_deploy(installation: Installation, spec: ModelSpec, run: str) -> bool:
    """Whether another run's rollout is in progress."""
    store = installation.store
    rollouts = [store.release(spec.name, "test").rollout, store.release(spec.name, "production").rollout]
    return any(rollout and not rollout.is_of(run) for rollout in rollouts)


def _refuse_other_run(spec: ModelSpec, release: Release, run: str) -> None:
    rollout = release.rollout
    if rollout and rollout.blocks(run, time.time()):
        raise DeploymentConflictError(
            f"{spec.name}: run {rollout.run} is deploying version {rollout.candidate} ({release.environment}). "
            "Wait for it to end, then deploy again."
        )


def _restarted_together(rollout: Rollout, figures: dict[str, ServerFigures]) -> bool:
    """Whether all servers were restarted during the step, so by the platform, not by a fault of the candidate."""
    before = rollout.baseline or {}
    return len(figures) > 1 and all(
        version in before and figures[version].started != before[version].started for version in figures
    )


def _starting(installation: Installation, spec: ModelSpec) -> bool:
    """Whether a server is being started, as after a restart of the platform."""
    servers = installation.engine.servers(spec.name, "production").values()
    return any(server.state == "starting" for server in servers)


def _judge_step(
    spec: ModelSpec, release: Release, rollout: Rollout, figures: dict[str, ServerFigures], seconds: float
) -> Verdict:
    """The verdict on the canary's current step, from what both servers counted since it started."""
    before = rollout.baseline or {}
    candidate = rollout.candidate
    champion = release.champion if release.champion in release.weights else None
    return judge_canary(
        spec.deployment.canary,
        figures[candidate].since(before[candidate]),
        figures[champion].since(before.get(champion)) if champion else None,
        seconds=seconds,
        weight=release.weights[candidate],
        restarted=figures[candidate].started != before[candidate].started,
        shadowed=rollout.shadowed and spec.deployment.shadow.enough_without_traffic,
    )


def _figures(installation: Installation, spec: ModelSpec, release: Release) -> dict[str, ServerFigures]:
    servers = installation.engine.servers(spec.name, "production")
    missing = [version for version in release.weights if version not in servers]
    if missing:
        raise PlatformError(f"no server of version {', '.join(missing)}")
    return {version: client_of(installation, spec, servers[version]).figures() for version in release.weights}


def _canary_rollout(spec: ModelSpec, run: str, candidate: str, step: int, shadowed: bool = False) -> Rollout:
    now = time.time()
    lease = now + (spec.deployment.canary.step_timeout_minutes + LEASE_MINUTES) * 60
    return Rollout(run, candidate, lease, step, since=now, shadowed=shadowed)
