"""Requests: a wrong one is refused with the name of what is wrong, and nothing else ever happens to it."""

import json
import time
from dataclasses import asdict
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.runtime.config import Model
from include.runtime.inference import ACCEPTED, BadRequestError, Inference, parse
from tests.support.small_model import FEATURES, ROW, body, request

MODEL = cast(Model, {"key": "id", "event_time": "at", "features": [*FEATURES, {"name": "seats", "type": "integer"}]})
SEATS = {"name": "seats", "shape": [1], "datatype": "INT64", "data": [180]}


def parsed(content: Any, **options: Any) -> Inference:
    given = content if isinstance(content, bytes) else json.dumps(content).encode()
    return parse(given, MODEL, **{"logged": True, "max_rows": 3, "request_id": "generated", **options})


def refusal(content: Any, **options: Any) -> str:
    with pytest.raises(BadRequestError) as refused:
        parsed(content, **options)
    return str(refused.value)


def asked(rows: Any = 1, **changes: Any) -> Any:
    """A request for MODEL; ``changes`` replaces parts of an input, or leaves it out when None."""
    content = request(rows, **changes)
    if changes.get("seats", {}) is not None:
        content["inputs"].append({**SEATS, "shape": [rows], "data": [180] * rows, **changes.get("seats", {})})
    return content


def test_a_good_request_becomes_columns() -> None:
    found = parsed(asked(rows=2))
    assert found == Inference(
        request_id="generated",
        rows=2,
        features={"distance": [500.0] * 2, "origin": ["EWR"] * 2, "night": [True] * 2, "seats": [180] * 2},
        keys=["flight-1"] * 2,
        event_times=["2013-06-01T08:00:00"] * 2,
    )


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_a_column_may_have_one_or_two_dimensions(shape: Any) -> None:
    assert parsed(asked(rows=2, distance={"shape": shape})).rows == 2


@pytest.mark.parametrize("feature", ["distance", "origin", "night", "seats"])
def test_null_is_taken_for_a_missing_value(feature: str) -> None:
    assert parsed(asked(rows=2, **{feature: {"data": [None, None]}})).features[feature] == [None, None]


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"distance": None}, "missing input(s): distance"),
        ({"distance": None, "origin": None}, "missing input(s): distance, origin"),
        ({"id": None}, "missing input(s): id"),
        ({"at": None}, "missing input(s): at"),
        ({"distance": {"name": "speed"}, "seats": {"name": "distance"}}, "missing input(s): seats"),
        ({"distance": {"name": "origin"}}, "input 'origin' is given twice"),
        ({"distance": {"name": None}}, "each of 'inputs' needs a 'name'"),
        (
            {"distance": {"datatype": "BYTES"}},
            "input 'distance' has datatype 'BYTES'; expected one of FP16, FP32",
        ),
        ({"distance": {"datatype": None}}, "input 'distance' has datatype None"),
        ({"distance": {"datatype": ["FP64"]}}, "input 'distance' has datatype ['FP64']"),
        ({"distance": {"datatype": {}}}, "input 'distance' has datatype {}"),
        ({"origin": {"datatype": "FP64"}}, "input 'origin' has datatype 'FP64'; expected one of BYTES (category)"),
        ({"id": {"datatype": "INT64"}}, "input 'id' has datatype 'INT64'"),
        ({"distance": {"data": ["500"]}}, "input 'distance', row 0: '500' is not a number"),
        ({"distance": {"data": [True]}}, "input 'distance', row 0: True is not a number"),
        ({"distance": {"data": [[500]]}}, "input 'distance', row 0: [500] is not a number"),
        ({"distance": {"data": [10**400]}}, "is not finite"),
        ({"distance": {"datatype": "INT64", "data": [1.5]}}, "input 'distance', row 0: 1.5 is not an integer"),
        ({"seats": {"datatype": "FP64", "data": [180.5]}}, "input 'seats', row 0: 180.5 is not an integer"),
        ({"origin": {"data": [7]}}, "input 'origin', row 0: 7 is not text"),
        ({"night": {"data": [1]}}, "input 'night', row 0: 1 is not true or false"),
        ({"night": {"datatype": "INT8", "data": [2]}}, "input 'night', row 0: 2 is not 0 or 1"),
        ({"distance": {"data": 500}}, "input 'distance' needs a list as 'data'"),
        ({"distance": {"data": None}}, "input 'distance' needs a list as 'data'"),
        ({"distance": {"shape": None}}, "input 'distance' has shape None"),
        ({"distance": {"shape": []}}, "input 'distance' has shape []; expected [n] or [n, 1]"),
        ({"distance": {"shape": [1, 1, 1]}}, "input 'distance' has shape [1, 1, 1]; expected [n] or [n, 1]"),
        ({"distance": {"shape": [1, 2], "data": [1, 2]}}, "input 'distance' has shape [1, 2]; expected [n] or [n, 1]"),
        ({"distance": {"shape": [-1, -1]}}, "input 'distance' has shape [-1, -1]"),
        ({"distance": {"shape": [2]}}, "input 'distance' has shape [2] but 1 values"),
        ({"distance": {"shape": ["1"]}}, "input 'distance' has shape ['1'] but 1 values"),
        ({"distance": {"shape": [2], "data": [1, 2]}}, "inputs differ in length: distance 2, origin 1"),
        ({"id": {"data": [None]}}, "input 'id', row 0: is missing"),
        ({"id": {"data": [""]}}, "input 'id', row 0: is missing"),
        ({"at": {"data": [None]}}, "input 'at', row 0: is missing"),
        ({"at": {"data": ["yesterday"]}}, "input 'at': 'yesterday' is not a time; write it like"),
        ({"at": {"data": ["2013-02-30"]}}, "input 'at': '2013-02-30' is not a time"),
        ({"at": {"data": ["0001-01-01T00:00:00+01:00"]}}, "is not a time"),
        ({"at": {"data": ["9999-12-31T23:59:59-01:00"]}}, "is not a time"),
    ],
)
def test_a_wrong_input_is_refused_by_name(changes: Any, named: str) -> None:
    assert named in refusal(asked(**changes))


def test_an_input_that_the_model_does_not_take_is_refused_with_those_it_takes() -> None:
    content = asked()
    content["inputs"].append({**SEATS, "name": "speed"})
    assert refusal(content) == "unknown input(s): speed; the model takes distance, origin, night, seats"


def test_an_optional_input_that_the_model_does_not_know_is_ignored() -> None:
    content = asked()
    content["inputs"].insert(0, {**SEATS, "name": "speed", "data": "whatever", "datatype": None})
    found = parsed(content, optional=lambda: {"speed"})
    assert (found.features, found.ignored) == (parsed(asked()).features, ("speed",))
    content["inputs"].append({**SEATS, "name": "height"})
    assert refusal(content, optional=lambda: {"speed"}).startswith("unknown input(s): height; the model takes distance")


def test_an_optional_feature_that_is_absent_has_only_missing_values() -> None:
    found = parsed(asked(rows=2, seats=None), optional=lambda: {"seats"})
    assert (found.features["seats"], found.absent) == ([None, None], ("seats",))
    assert refusal(asked(seats=None, origin=None), optional=lambda: {"seats"}) == "missing input(s): origin"


@pytest.mark.parametrize("name", ["id", "at"])
def test_key_and_event_time_are_never_optional(name: str) -> None:
    """Each logged prediction is joined with its truth by them."""
    assert refusal(asked(**{name: None}), optional=lambda: {name}) == f"missing input(s): {name}"


def test_a_request_with_nothing_but_ignored_inputs_is_refused() -> None:
    content = {"inputs": [{**SEATS, "name": "speed"}]}
    everything = ["speed", "distance", "origin", "night", "seats"]
    assert refusal(content, optional=lambda: everything, logged=False) == "no input that the model knows, so no rows"


@pytest.mark.parametrize(
    ("feature", "datatype", "data", "expected"),
    [
        ("origin", "INT64", [501, None], ["501", None]),
        ("origin", "FP64", [501.0, 0.5], ["501", "0.5"]),
        ("origin", "BOOL", [True, False], ["true", "false"]),
        ("seats", "BYTES", ["180", ""], [180.0, None]),
        ("seats", "BOOL", [True, None], [1.0, None]),
        ("distance", "BYTES", ["5.5", None], [5.5, None]),
        ("night", "BYTES", ["True", "0"], [True, False]),
    ],
)
def test_an_optional_feature_may_be_sent_as_another_type(feature: str, datatype: str, data: Any, expected: Any) -> None:
    """While its type changes: the category is the one that training makes of such a value."""
    content = asked(rows=2, **{feature: {"datatype": datatype, "data": data}})
    found = parsed(content, optional=lambda: {feature})
    assert (found.features[feature], found.converted) == (expected, (feature,))
    assert f"input '{feature}' has datatype '{datatype}'; expected one of" in refusal(content)


@pytest.mark.parametrize(
    ("feature", "datatype", "value", "named"),
    [
        ("seats", "BYTES", "many", "input 'seats' is BYTES; the model takes integer: could not convert"),
        ("seats", "BYTES", "1.5", "input 'seats', row 0: 1.5 is not an integer"),
        ("distance", "BYTES", "nan", "input 'distance', row 0: nan is not finite"),
        ("night", "BYTES", "perhaps", "input 'night' is BYTES; the model takes boolean: 'perhaps', which is not a"),
        ("distance", "BYTES", 5, "input 'distance', row 0: 5 is not text"),
    ],
)
def test_what_can_not_be_converted_is_refused(feature: str, datatype: str, value: Any, named: str) -> None:
    content = asked(**{feature: {"datatype": datatype, "data": [value]}})
    assert refusal(content, optional=lambda: {feature}).startswith(named)


def test_a_request_with_the_models_own_inputs_never_reads_what_is_optional() -> None:
    """It is a file."""
    parsed(asked(), optional=lambda: pytest.fail("read"))


@pytest.mark.parametrize("rows", [0, 4])
def test_a_request_without_rows_or_with_too_many_is_refused(rows: int) -> None:
    assert refusal(asked(rows)) == f"{rows} rows; a request may have 1 to 3"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", [b"500.0", b'"EWR"', b'"FP64"', b"[1]"])
def test_a_number_that_json_does_not_have_is_refused_with_null_as_the_remedy(literal: str, place: bytes) -> None:
    content = body().replace(place, literal.encode(), 1)
    assert refusal(content) == f"{literal} is not allowed; send null for a missing value"


@pytest.mark.parametrize("literal", [b"1e999", b"-1e999"])
@pytest.mark.parametrize("feature", ["distance", "seats"])
def test_a_number_too_large_to_be_one_is_refused(literal: bytes, feature: str) -> None:
    content = json.dumps(asked(**{feature: {"data": ["HERE"]}})).encode().replace(b'"HERE"', literal)
    assert f"input '{feature}', row 0: {'-' * literal.startswith(b'-')}inf is not finite" in refusal(content)


@pytest.mark.parametrize(
    "content, named",
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b'{"inputs": [}', "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"id": "\xed\xa0\x80"}', "the body is not JSON"),
        (b"1" * 5000, "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"inputs":' * 100_000, "the body is not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'"inputs"', "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (b"{}", "'inputs' must be a list of named columns"),
        (b'{"inputs": []}', "'inputs' must be a list of named columns"),
        (b'{"inputs": {"distance": 1}}', "'inputs' must be a list of named columns"),
        (b'{"inputs": [500]}', "each of 'inputs' needs a 'name'"),
    ],
)
def test_what_is_not_a_request_is_refused(content: Any, named: str) -> None:
    assert named in refusal(content)


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_no_depth_of_nesting_breaks_the_reader(depth: Any) -> None:
    content = body(origin={"data": ["HERE"]}).replace(b'"HERE"', b"[" * depth + b"]" * depth)
    assert "input" in refusal(content) or "not JSON" in refusal(content)


def test_a_shape_of_huge_numbers_costs_no_time() -> None:
    content = json.dumps(asked(distance={"shape": [10**1000] * 1500})).encode()
    started = time.perf_counter()
    assert "expected [n] or [n, 1]" in refusal(content)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("part", ["id", "origin"])
def test_half_a_surrogate_pair_is_refused_since_it_could_be_neither_logged_nor_answered(part: str) -> None:
    assert "surrogates not allowed" in refusal(asked(**{part: {"data": ["\ud800"]}}))
    assert "surrogates not allowed" in refusal({**asked(), "id": "\udfff"})
    assert parsed(asked(**{part: {"data": ["\U0001f6eb"]}})).rows == 1


@pytest.mark.parametrize(
    "given, expected",
    [({}, "generated"), ({"id": None}, "generated"), ({"id": "mine"}, "mine"), ({"id": "x" * 200}, "x" * 200)],
)
def test_the_id_is_the_clients_own_or_else_a_generated_one(given: Any, expected: Any) -> None:
    assert parsed({**asked(), **given}).request_id == expected


@pytest.mark.parametrize("given", ["", "x" * 201, 7, ["a"], True])
def test_an_id_that_is_no_short_text_is_refused(given: Any) -> None:
    assert refusal({**asked(), "id": given}) == "'id' must be a string of 1 to 200 characters"


@pytest.mark.parametrize("outputs", [None, [], [{"name": "prediction"}], [{"name": "prediction", "parameters": {}}]])
def test_a_client_may_name_the_output_that_it_wants(outputs: Any) -> None:
    assert parsed({**asked(), "outputs": outputs}).rows == 1


@pytest.mark.parametrize("outputs", [{}, "prediction", ["prediction"], [{"name": "score"}], [{}]])
def test_an_output_that_the_model_does_not_have_is_refused(outputs: Any) -> None:
    assert "'prediction'" in refusal({**asked(), "outputs": outputs}) or "'outputs' must be" in refusal(
        {**asked(), "outputs": outputs}
    )


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "UINT64", "INT8"])
def test_numbers_may_have_any_numeric_datatype_of_the_protocol(datatype: str) -> None:
    assert parsed(asked(distance={"datatype": datatype, "data": [7]})).features["distance"] == [7]


def test_key_and_event_time_may_be_left_out_where_nothing_is_logged() -> None:
    found = parsed(asked(id=None, at=None), logged=False)
    assert (found.keys, found.event_times) == (None, None)


def test_the_event_time_is_logged_in_one_form() -> None:
    found = parsed(asked(rows=2, at={"data": ["2013-06-01 08:00", "20130601T080000+0200"]}))
    assert found.event_times == ["2013-06-01T08:00:00", "2013-06-01T08:00:00+02:00"]


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])
    | st.floats()
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*ROW, "seats"]) | ANY,
        "shape": st.lists(st.integers(-2, 3), max_size=3) | ANY,
        "datatype": st.sampled_from(sorted(set().union(*ACCEPTED.values()))) | ANY,
        "data": st.lists(ANY, max_size=4) | ANY,
    },
)


@given(st.dictionaries(st.sampled_from([*ROW, "seats"]), PARTS, max_size=2), st.dictionaries(st.just("id"), ANY), ANY)
@settings(max_examples=80)
def test_any_body_is_either_refused_or_can_be_logged_and_answered(changes: Any, identity: Any, anything: Any) -> None:
    for content in ({**asked(**changes), **identity}, anything, {"inputs": anything}, {"inputs": [anything]}):
        try:
            found = parsed(content)
        except BadRequestError as refused:
            str(refused).encode("utf-8")
        else:
            assert 1 <= found.rows <= 3
            json.dumps(asdict(found), allow_nan=False, ensure_ascii=False).encode("utf-8")


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_are_refused(content: Any) -> None:
    refusal(content)
