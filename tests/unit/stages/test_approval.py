"""No version gets traffic without an approval that its own run asked for, whatever is answered, cleared or promoted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.adapters.engines.environments import checkout_folder
from include.adapters.git import author_file
from include.adapters.store import Store
from include.core.approval import Answer, newest_approval
from include.core.candidate import CandidateRecord
from include.core.errors import DeploymentConflictError, GateError
from include.core.release.checks import RolloutCheck
from include.core.release.release import Release
from include.core.spec import ModelSpec
from include.core.verdict import Verdict
from include.settings import Settings
from include.stages import approval, deployment
from include.stages.installation import Installation, open_installation
from tests.support.specs import model_spec

OPEN = model_spec()
ASKS = model_spec(deployment={"approval": {"required": True, "hours": 2}})
BY_BOB = model_spec(deployment={"approval": {"required": True, "approvers": ["bob"]}})
YES, NO, NOBODY = Answer(True, "ann", "Ann", "fine"), Answer(False, "ann", "Ann", "too risky"), Answer(False)
WEB = "https://airflow.example/team"
REFUSED = r"late version 3 gets no traffic without an approval \(deployment.approval\): {}"


class Registry:
    """The registry's part in ending a rollout."""

    def __init__(self) -> None:
        self.withdrawn: list[str] = []

    def withdraw(self, model: str, version: str) -> None:
        self.withdrawn.append(version)


@pytest.fixture(scope="module")
def no_servers() -> Iterator[None]:
    """The desired state is what decides; no reconciler acts on it here."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in (approval, deployment):
            patch.setattr(stage, "reconcile", lambda *_: None)
        yield


def made_at(home: Path) -> Installation:
    """An installation on which version 2 serves."""
    registry: Any = Registry()
    here = open_installation(Settings(home=home))
    made = replace(here, store=Store("sqlite://"), registry=registry)
    now = made.store.release("late", "production")
    made.store.swap_release(now, now.promote("2", "2 promoted by first"))
    return made


@pytest.fixture
def here(tmp_path: Path, no_servers: None) -> Installation:
    return made_at(tmp_path)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory, no_servers: None) -> Iterator[Installation]:
    """An installation for many examples, each with a model of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "renew_choices", lambda *_: None)
        yield made_at(tmp_path_factory.mktemp("approvals"))


def ask(here: Installation, version: str = "3", run: str = "run", spec: Any = ASKS, shown: str = "") -> Any:
    return approval.ask_for_release(here, spec, version, run, WEB, shown)


def answer(here: Installation, given: Answer, version: str = "3", run: str = "run", spec: Any = ASKS) -> Verdict:
    return approval.answer_for_release(here, spec, version, run, given)


def canary(here: Installation, version: str = "3", run: str = "run", spec: Any = ASKS) -> Any:
    return deployment.start_canary(here, spec, version, run)


def promote_another(here: Installation, version: str = "4") -> None:
    now = here.store.release("late", "production")
    here.store.swap_release(now, now.promote(version, f"{version} promoted by another"))


def check_of(here: Installation, run: str = "run") -> RolloutCheck:
    found = newest_approval(here.store.rollout_checks("late", run), run)
    assert found is not None
    return found


def test_without_the_section_no_canary_waits(here: Installation) -> None:
    assert canary(here, spec=OPEN).weights == {"2": 90, "3": 10}


def test_an_approval_starts_the_canary(here: Installation) -> None:
    ask(here)
    waiting = check_of(here)
    assert waiting.verdict.answer == "hold"
    assert waiting.verdict.reason.startswith("waits for an answer until 2")
    assert answer(here, YES).reason == "approved by Ann: fine"
    assert canary(here).weights == {"2": 90, "3": 10}
    assert canary(here).weights == {"2": 90, "3": 10}, "a retry resumes it"


@pytest.mark.parametrize(
    ("given", "reason"),
    [(NO, "rejected by Ann: too risky"), (NOBODY, "nobody answered within 2 h"), (None, "waits for an answer until")],
)
def test_any_other_answer_does_not(here: Installation, given: Answer | None, reason: str) -> None:
    ask(here)
    if given:
        answer(here, given)
    with pytest.raises(GateError, match=REFUSED.format(reason)):
        canary(here)
    assert here.store.release("late", "production").weights == {"2": 100}


def test_marking_the_task_as_success_or_a_spec_that_became_stricter_does_not_help(here: Installation) -> None:
    with pytest.raises(GateError, match=REFUSED.format("nobody was asked for approval in this run")):
        canary(here)
    ask(here)
    answer(here, YES)
    with pytest.raises(
        GateError, match=REFUSED.format("approved by Ann: fine, who is not among the approvers any more")
    ):
        canary(here, spec=BY_BOB)


def test_another_runs_approval_is_not_this_runs(here: Installation) -> None:
    ask(here, run="another")
    answer(here, YES, run="another")
    with pytest.raises(GateError, match="nobody was asked"):
        canary(here)


def test_an_approval_for_another_version_or_another_champion_is_outdated(here: Installation) -> None:
    ask(here)
    answer(here, YES)
    with pytest.raises(GateError, match="the approval of this run is about version 3"):
        canary(here, version="5")
    promote_another(here)
    with pytest.raises(GateError, match=r"changed from version 2 to version 4 .*Deploy version 3 again"):
        canary(here)


def test_asking_again_closes_the_gate_and_ends_the_canary(here: Installation) -> None:
    ask(here)
    answer(here, YES)
    canary(here)
    ask(here)
    release = here.store.release("late", "production")
    assert (release.weights, release.rollout) == ({"2": 100}, None)
    assert release.note == "canary of 3 by run ended: its approval is asked for again"
    with pytest.raises(GateError, match="waits for an answer"):
        canary(here)
    with pytest.raises(DeploymentConflictError):
        deployment.promote(here, ASKS, "3", "run")
    answer(here, NO)
    with pytest.raises(GateError, match="rejected by Ann"):
        canary(here)


def test_answers_are_kept_when_the_question_is_asked_again(here: Installation) -> None:
    for said in (YES, NO, NOBODY):
        ask(here)
        answer(here, said)
    body = ask(here).body
    kept = {check.stage: check.verdict.reason for check in here.store.rollout_checks("late", "run")}
    assert kept == {
        "approval": check_of(here).verdict.reason,
        "approval, answer 1": "approved by Ann: fine",
        "approval, answer 2": "rejected by Ann: too risky",
    }
    assert "Ann" not in body, "the evidence is what the gates said"


@pytest.mark.parametrize("asked", [False, True])
def test_an_answer_to_no_open_question_is_refused(here: Installation, asked: bool) -> None:
    if asked:
        ask(here)
        answer(here, NO)
    with pytest.raises(GateError, match="no open question about version 3"):
        answer(here, YES)
    if asked:
        assert check_of(here).verdict.reason == "rejected by Ann: too risky"


def test_evidence_that_has_changed_is_not_asked_about_under_the_old_text(here: Installation) -> None:
    shown = ask(here).fingerprint
    assert ask(here, shown=shown).fingerprint == shown
    answer(here, YES)
    promote_another(here)
    with pytest.raises(GateError, match=r"evidence has changed .*Run late.deployment with version 3 again"):
        ask(here, shown=shown)
    assert check_of(here).verdict.answer == "fail", "the earlier approval is void"
    with pytest.raises(GateError, match="evidence has changed"):
        canary(here)


def test_the_end_of_a_run_closes_its_question_and_tells_a_rejection_from_silence(here: Installation) -> None:
    assert approval.rejection(here, ASKS, "run") == ""
    ask(here)
    assert approval.rejection(here, ASKS, "run") == ""
    assert check_of(here).verdict.reason == "the run ended before anybody answered"
    ask(here)
    answer(here, NO)
    assert approval.rejection(here, ASKS, "run") == "rejected by Ann: too risky"
    assert approval.rejection(here, ASKS, "run") == "rejected by Ann: too risky", "however often settle runs"


def test_a_rejected_version_is_no_longer_the_challenger(here: Installation) -> None:
    ask(here)
    answer(here, NO)
    deployment.settle(here, ASKS, "run", "3")
    registry: Any = here.registry
    assert registry.withdrawn == ["3"]


def test_the_evidence_is_what_the_store_has(here: Installation) -> None:
    for version in ("2", "3"):
        verdict = Verdict("pass", f"better than {version}")
        record = CandidateRecord(
            version, verdict, f"{version}" * 40, "b", "s", "2013-05", "t", "by hand", "", "roc_auc", 0.8, 0.7, 0.9
        )
        here.store.record_candidate("late", record)
    folder = checkout_folder(here.settings, "late", "3" * 40)
    folder.mkdir(parents=True)
    author_file(folder).write_text("Ada", encoding="utf-8")
    for run, stage, version in (("run", "test environment", "3"), ("run", "replay", "9"), ("other", "replay", "3")):
        here.store.record_check("late", RolloutCheck(run, stage, version, Verdict("pass", f"{run} {stage} {version}")))
    body = ask(here, run="run").body
    assert "- Test environment: **pass**, `run test environment 3`" in body
    assert "Replay" not in body
    assert "- Commit: `333333333333` by `Ada`" in body
    assert "- Version 2, on its own holdout: roc_auc 0.8" in body
    assert f"[Model]({WEB}/evergreen/ui/models/late) · [Rollout]({WEB}/evergreen/ui/models/late/rollouts/run)" in body


@dataclass
class Story:
    """One model, to which things happen, and what the rule says about them."""

    here: Installation
    spec: ModelSpec
    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Run → version and champion of its open question."""
    approved: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def release(self) -> Release:
        return self.here.store.release(self.spec.name, "production")

    def ask(self, version: str, run: str) -> None:
        ask(self.here, version, run, self.spec)
        self.approved.pop(run, None)
        self.open[run] = (version, str(self.release.champion))

    def answer(self, given: Answer, version: str, run: str) -> None:
        if self.open.get(run, ("", ""))[0] != version:
            with pytest.raises(GateError):
                answer(self.here, given, version, run, self.spec)
            return
        answer(self.here, given, version, run, self.spec)
        question = self.open.pop(run)
        if given.approved:
            self.approved[run] = question

    def canary(self, version: str, run: str) -> None:
        before = self.release
        if before.rollout and not before.rollout.is_of(run):
            return  # refused for another reason
        allowed = self.approved.get(run) == (version, before.champion)
        if allowed:
            canary(self.here, version, run, self.spec)
        else:
            with pytest.raises(GateError):
                canary(self.here, version, run, self.spec)

    def promote(self, _: str, run: str) -> None:
        rollout = self.release.rollout
        if rollout and rollout.is_of(run):
            deployment.promote(self.here, self.spec, rollout.candidate, run)

    def settle(self, _: str, run: str) -> None:
        deployment.settle(self.here, self.spec, run)
        approval.rejection(self.here, self.spec, run)
        self.open.pop(run, None)

    def another(self, version: str, _: str) -> None:
        now = self.release
        if not now.rollout and now.champion != version:
            self.here.store.swap_release(now, now.promote(version, "another run promoted it"))

    def check(self) -> None:
        now = self.release
        if now.rollout:
            assert self.approved.get(now.rollout.run, ("", ""))[0] == now.rollout.candidate
        else:
            assert set(now.weights) == {now.champion}


STEPS = {
    "ask": Story.ask,
    "approve": lambda story, version, run: story.answer(YES, version, run),
    "reject": lambda story, version, run: story.answer(NO, version, run),
    "say nothing": lambda story, version, run: story.answer(NOBODY, version, run),
    "canary": Story.canary,
    "promote": Story.promote,
    "settle": Story.settle,
    "another": Story.another,
}
NUMBERS = count()


@settings(max_examples=50)
@given(
    steps=st.lists(st.tuples(st.sampled_from(list(STEPS)), st.sampled_from("34"), st.sampled_from("ab")), max_size=14)
)
def test_no_order_of_steps_gives_traffic_to_what_nobody_approved(one_store: Installation, steps: list[Any]) -> None:
    story = Story(one_store, ASKS.model_copy(update={"name": f"late-{next(NUMBERS)}"}))
    one_store.store.swap_release(story.release, story.release.promote("2", "first"))
    for step, version, run in steps:
        STEPS[step](story, version, run)
        story.check()
