"""Approvals of releases: asks people, records what they answer, and lets no version pass without it.

The question and its answer are the check ``approval`` of the run's rollout, in the store. What Airflow keeps of them
(task states, XCom) opens nothing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from include.adapters.engines.environments import checkout_folder
from include.adapters.git import author_of
from include.core.approval import (
    APPROVAL,
    CHANGED,
    Answer,
    Asked,
    earlier_answer,
    hours_of,
    is_approval,
    judge_answer,
    newest_approval,
    was_rejected,
    why_not_approved,
)
from include.core.errors import GateError
from include.core.evidence import Link, ReleaseEvidence, release_question
from include.core.release.checks import RolloutCheck
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.pages.place import Place
from include.stages.installation import Installation
from include.stages.reconciler import reconcile


def ask_for_release(
    installation: Installation, spec: ModelSpec, version: str, run: str, airflow: str, shown: str = ""
) -> Asked:
    """Ask whether the run may deploy ``version``; returns the question. ``airflow``: the absolute URL of the web UI.

    Until there is an answer, the version can't get traffic: an earlier answer in this run is kept but no longer counts,
    and a canary that the run has begun is ended. ``shown``: the fingerprint of the question that people saw in this run
    before, which Airflow would show again; GateError if the evidence differs by now.
    """
    champion, approval = installation.store.release(spec.name, "production").champion, spec.deployment.approval
    earlier = earlier_answer(installation.store.rollout_checks(spec.name, run), run)
    if earlier:
        installation.store.record_check(spec.name, earlier)
    until = datetime.fromtimestamp(time.time() + approval.hours * 3600, UTC)
    reason = f"waits for an answer until {until:%Y-%m-%d %H:%M} UTC"
    _record(installation, spec, version, run, Verdict("hold", reason, {"champion": champion, "hours": approval.hours}))
    _end_canary(installation, spec, run)
    asked = release_question(spec, _evidence(installation, spec, version, run, champion), _links(spec, run, airflow))
    if asked.differs_from(shown):
        _record(installation, spec, version, run, Verdict("fail", CHANGED, {"champion": champion}))
        raise GateError(
            f"{spec.name} version {version}: {CHANGED}, and this run can't show it again. "
            f"Run {spec.name}.deployment with version {version} again."
        )
    return asked


def answer_for_release(installation: Installation, spec: ModelSpec, version: str, run: str, answer: Answer) -> Verdict:
    """Record the answer, or that nobody gave one; returns the verdict.

    Raises GateError if nothing was asked about this version, or if the question was answered before.
    """
    asked = newest_approval(installation.store.rollout_checks(spec.name, run), run)
    if asked is None or asked.version != version or asked.verdict.answer != "hold":
        raise GateError(
            f"{spec.name}: run {run} has no open question about version {version}. Clear approve_release to ask again."
        )
    question = spec.deployment.approval.model_copy(update={"hours": hours_of(asked)})  # model.yaml may have changed
    verdict = judge_answer(answer, question, {"champion": _champion_in(asked)})
    _record(installation, spec, version, run, verdict)
    return verdict


def require_approval(installation: Installation, spec: ModelSpec, version: str, run: str, champion: str | None) -> None:
    """Raise GateError unless today's model.yaml lets the version pass: it requires no approval, or the run has one.

    ``champion``: the version in production now.
    """
    if not spec.deployment.approval.required:
        return
    check = newest_approval(installation.store.rollout_checks(spec.name, run), run)
    problem = why_not_approved(check, spec.deployment.approval.approvers, version, champion)
    if problem:
        raise GateError(
            f"{spec.name} version {version} gets no traffic without an approval (deployment.approval): {problem}. "
            f"Deploy version {version} again, and approve it there."
        )


def rejection(installation: Installation, spec: ModelSpec, run: str) -> str:
    """What a person said who rejected the run's version; empty if nobody did.

    At the end of the run: a question that is still open counts as not answered from now on.
    """
    check = newest_approval(installation.store.rollout_checks(spec.name, run), run)
    if check and check.verdict.answer == "hold":
        ended = Verdict("fail", "the run ended before anybody answered", {"champion": _champion_in(check)})
        _record(installation, spec, check.version, run, ended)
    return check.verdict.reason if check and was_rejected(check) else ""


def _record(installation: Installation, spec: ModelSpec, version: str, run: str, verdict: Verdict) -> None:
    installation.store.record_check(spec.name, RolloutCheck(run, APPROVAL, version, verdict))


def _end_canary(installation: Installation, spec: ModelSpec, run: str) -> None:
    now = installation.store.release(spec.name, "production")
    if now.rollout and now.rollout.is_of(run):
        note = f"canary of {now.rollout.candidate} by {run} ended: its approval is asked for again"
        installation.store.swap_release(now, now.abandon(note))
        reconcile(installation, spec, "production")


def _champion_in(check: RolloutCheck) -> str | None:
    champion = check.verdict.signals.get("champion")
    return str(champion) if champion else None


def _evidence(
    installation: Installation, spec: ModelSpec, version: str, run: str, champion: str | None
) -> ReleaseEvidence:
    records = {one.version: one for one in installation.store.candidates(spec.name)}
    candidate = records.get(version)
    folder = checkout_folder(installation.settings, spec.name, candidate.commit) if candidate else None
    checks = [one for one in installation.store.rollout_checks(spec.name, run) if not is_approval(one)]
    return ReleaseEvidence(
        version=version,
        champion=champion,
        candidate=candidate,
        before=records.get(champion or ""),
        author=author_of(folder) if folder else "",
        checks=[one for one in checks if one.version == version and not one.share],
    )


def _links(spec: ModelSpec, run: str, airflow: str) -> list[Link]:
    place = Place(airflow.rstrip("/"))
    return [Link("Model", place.model(spec.name)), Link("Rollout", place.rollout(spec.name, run))]
