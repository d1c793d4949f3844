"""What a person asks of a run: cleaned the same way everywhere, and refused with the field and the remedy."""

from dataclasses import fields
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.build import Build, EstimatorParameters
from include.core.errors import RunRefusedError
from include.core.run_params import (
    PARAMS_OF,
    CiParams,
    DeploymentParams,
    MonitoringParams,
    TrainingParams,
    check_deployment,
    check_incident,
    check_parameters,
    check_verdict,
    check_version,
    check_window,
    choose_build,
    read_params,
    refuse_together,
)

NOW = datetime(2013, 5, 17, 12)
KINDS = st.sampled_from(list(PARAMS_OF.values()))


def build(build_id: str, status: Any) -> Build:
    return Build("late", build_id, "c" * 40, "e", status)


@given(KINDS, st.sampled_from([None, "", "  ", ...]))
def test_an_untouched_field_is_its_default_however_it_arrives(kind: Any, nothing: Any) -> None:
    given_ = {} if nothing is ... else {one.name: nothing for one in fields(kind)}
    assert read_params(kind, given_) == kind()


@given(KINDS, st.text(min_size=1))
def test_a_name_that_the_dag_lacks_is_refused_with_those_it_has(kind: Any, name: Any) -> None:
    known = [one.name for one in fields(kind)]
    if name in known:
        return
    with pytest.raises(RunRefusedError) as refused:
        read_params(kind, {name: None})
    assert f"'{name}'" in str(refused.value)
    assert all(one in str(refused.value) for one in known)


def test_spaces_around_a_value_do_not_count_and_those_within_do() -> None:
    assert read_params(MonitoringParams, {"window": "  2013-05 "}).window == "2013-05"
    assert read_params(TrainingParams, {"reason": "\tnew  data\n"}).reason == "new  data"
    assert read_params(CiParams, {"ref": "main", "again": True}) == CiParams("main", again=True)
    assert read_params(TrainingParams, {"parameters": {"a": " b "}}).parameters == {"a": " b "}


def test_a_typing_mistake_in_a_name_is_not_ignored() -> None:
    with pytest.raises(RunRefusedError, match=r"'verson' \(known: version, force, rollback, to\)"):
        read_params(DeploymentParams, {"verson": "3"})


def test_retraining_may_pass_on_the_figures_of_its_incident() -> None:
    given_ = {"reason": "drop", "incident": "late-2013-05", "window": "2013-05", "signals": {"drop": 0.1}}
    assert read_params(TrainingParams, given_).incident == "late-2013-05"


def test_a_rollback_and_a_version_contradict_each_other() -> None:
    check_deployment(DeploymentParams(version="3"))
    check_deployment(DeploymentParams(rollback=True))
    with pytest.raises(RunRefusedError, match=r"'rollback' and 'version'.*Untick.*version 3, or move .* to 'to'"):
        check_deployment(DeploymentParams(version="3", rollback=True))


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (DeploymentParams(to="2"), ["'to' needs 'rollback'"]),
        (DeploymentParams(force=True), ["'force' needs a 'version'"]),
        (DeploymentParams(rollback=True, force=True), ["'rollback' and 'force'"]),
        (DeploymentParams(version="3", to="2"), ["'to' needs 'rollback'"]),
        (
            DeploymentParams("3", force=True, rollback=True, to="2"),
            ["'rollback' and 'version'", "'rollback' and 'force'"],
        ),
    ],
)
def test_every_contradiction_of_a_deployment_is_named(params: DeploymentParams, named: list[str]) -> None:
    with pytest.raises(RunRefusedError) as refused:
        check_deployment(params)
    assert [each for each in named if each not in str(refused.value)] == []


@given(
    st.builds(DeploymentParams, *[st.sampled_from(["", "2"]), st.booleans(), st.booleans(), st.sampled_from(["", "1"])])
)
def test_what_is_not_refused_deploys_or_rolls_back_and_never_both(params: DeploymentParams) -> None:
    try:
        check_deployment(params)
    except RunRefusedError:
        assert params.rollback or params.to or params.force, "an empty form and a version alone are always taken"
        return
    assert not (params.rollback and (params.version or params.force))
    assert params.rollback or not params.to
    assert params.version or not params.force


def test_a_suggestion_means_its_value_in_the_fields_that_suggest_and_only_there() -> None:
    chosen = read_params(DeploymentParams, {"version": "3 · passed promotion · 2013-05-17", "to": " 2 · in production"})
    assert (chosen.version, chosen.to) == ("3", "2")
    assert read_params(TrainingParams, {"build": "abc-1 · 2013-05-17", "window": "2013-05"}).build == "abc-1"
    assert read_params(MonitoringParams, {"window": "2013-05 · complete"}).window == "2013-05"
    assert read_params(TrainingParams, {"reason": "new · better"}).reason == "new · better"


def test_a_version_that_did_not_pass_promotion_is_refused_with_the_reason_or_forced() -> None:
    assert check_verdict("3", "pass", "better", force=False) == ""
    assert check_verdict("3", "pass", "better", force=True) == "", "nothing was overridden"
    with pytest.raises(RunRefusedError, match=r"version 3 did not pass promotion \(hold: no rows\).*tick 'force'"):
        check_verdict("3", "hold", "no rows", force=False)
    with pytest.raises(RunRefusedError, match="never judged"):
        check_verdict("3", "", "", force=False)
    assert check_verdict("3", "fail", "worse", force=True) == "fail: worse"
    assert len(check_verdict("3", "fail", "x" * 10_000, force=True)) < 400, "it becomes part of a release's note"


def test_parameters_that_the_estimator_function_lacks_are_refused_with_those_it_has() -> None:
    accepted: EstimatorParameters = {"names": ["depth", "rate"], "any": False}
    check_parameters(accepted, {"rate": 1}, "here")
    check_parameters({"names": [], "any": True}, {"nope": 1}, "here")
    check_parameters(None, {"nope": 1}, "here")
    with pytest.raises(RunRefusedError, match=r"here: .* no parameter 'nope' or 'ropes' \(it has: depth, rate\)"):
        check_parameters(accepted, {"ropes": 1, "rate": 1, "nope": 1}, "here")
    many: EstimatorParameters = {"names": [f"{number:0100}" for number in range(200)], "any": False}
    with pytest.raises(RunRefusedError) as refused:
        check_parameters(many, {"nope": 1}, "here")
    assert len(str(refused.value)) < 5_000, "the names are written by the model's code"


def test_all_mistakes_of_a_form_are_named_at_once() -> None:
    builds = [build("a-1", "passed")]
    with pytest.raises(RunRefusedError) as refused:
        refuse_together(
            lambda: check_window("2013-13", "month", NOW),
            lambda: check_incident("late-2013-06", []),
            lambda: choose_build("x", builds),
        )
    assert all(f"parameter '{name}'" in str(refused.value) for name in ("window", "incident", "build"))
    refuse_together(lambda: choose_build("", builds))


@pytest.mark.parametrize(
    ("window", "grain", "message"),
    [
        ("2013-13", "month", "Write it like '2013-05'"),
        ("2013-05", "week", "Write it like '2013-W20'"),
        ("2013-W20", "day", "Write it like '2013-05-17'"),
        ("2013-5", "month", "is not a month"),
        ("9999-12", "month", "'9999-12'"),
        ("2013-06", "month", "has not begun yet; the current month is 2013-05"),
        ("2013-W21", "week", "the current week is 2013-W20"),
        ("2013-05-18", "day", "the current day is 2013-05-17"),
        ("0013-05", "month", "before 1900"),
    ],
)
def test_a_window_that_can_not_be_meant_is_refused(window: str, grain: Any, message: str) -> None:
    with pytest.raises(RunRefusedError, match=message) as refused:
        check_window(window, grain, NOW)
    assert str(refused.value).startswith("parameter 'window'")


@pytest.mark.parametrize(("window", "grain"), [("2013-05", "month"), ("2013-W20", "week"), ("2012-02-29", "day")])
def test_a_window_that_has_begun_may_be_named(window: str, grain: Any) -> None:
    check_window(window, grain, NOW)


def test_a_build_is_the_named_one_or_the_newest_that_passed() -> None:
    builds = [build("c-1", "failed"), build("b-1", "passed"), build("a-1", "passed")]
    assert choose_build("", builds).build_id == "b-1"
    assert choose_build("a-1", builds).build_id == "a-1"
    with pytest.raises(RunRefusedError, match=r"no build 'd-1' \(newest that passed: b-1, a-1\)"):
        choose_build("d-1", builds)
    with pytest.raises(RunRefusedError, match=r"'c-1' did not pass \(newest that passed: b-1, a-1\)"):
        choose_build("c-1", builds)
    with pytest.raises(RunRefusedError, match="no build has passed yet"):
        choose_build("", builds[:1])


def test_an_incident_must_have_been_opened() -> None:
    check_incident("", [])
    check_incident("late-2013-05", ["late-2013-05"])
    with pytest.raises(RunRefusedError, match=r"no incident 'late-2013-06' \(newest: late-2013-05\)"):
        check_incident("late-2013-06", ["late-2013-05"])


@pytest.mark.parametrize("version", ["4", "0", "-1", "v3", "3.0", "three", "٣", "3 "])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(version: str) -> None:
    with pytest.raises(RunRefusedError, match=r"parameter 'version': .* \(known: 3, 2, 1\)"):
        check_version(version, ["3", "2", "1"])


def test_a_version_is_written_as_the_registry_writes_it() -> None:
    assert check_version("3", ["3"]) == check_version("003", ["3"]) == "3"
