"""What a server answers when its model, its log or the request is not as it should be."""

import errno
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.runtime import train
from include.runtime.bodies import TooLargeError, UndecodableError, decoded
from include.runtime.hashes import file_hash
from include.runtime.model_server import ModelServer
from tests.support.small_model import body, model_block, request, train_job

CODE = """
def prepare(frame):
    known = frame["origin"].isin(["EWR", "JFK"]) | frame["origin"].isna()
    if not known.all():
        raise ValueError("an airport nobody knows")
    return frame


class Strange(LogisticRegression):
    def predict_proba(self, frame):
        return answer(super().predict_proba(frame))


def estimator():
    return on_features(Strange())


def answer(predicted):
    return predicted
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    model = model_block(folder / "code", CODE, feature_code="prepare", trusted_types=["MODULE.Strange"])
    train.main(train_job(folder, model))
    (folder / "token").write_text("secret\n", encoding="utf-8")
    return {
        "model": model,
        "version": "3",
        "environment": "test",
        "release": "test@7",
        "build": "b1",
        "artifact": str(folder / "candidate"),
        "sha256": file_hash(folder / "candidate" / "model.skops"),
        "token_file": str(folder / "token"),
        "optional_inputs_file": str(folder / "optional.json"),
        "log_dir": None,
        "max_rows": 3,
        "max_body_bytes": 20_000,
        "event_time_from_year": 1970,
        "event_time_days_ahead": 400,
    }


@pytest.fixture
def server(tmp_path: Path, config: Any) -> Iterator[Any]:
    server = ModelServer(config | {"log_dir": str(tmp_path / "log")})
    yield server
    assert server.log
    server.log.close()


def logged(tmp_path: Path) -> Any:
    return [json.loads(line) for path in (tmp_path / "log").iterdir() for line in path.read_bytes().splitlines()]


def test_a_model_that_refuses_made_up_values_is_served_all_the_same(server: Any) -> None:
    assert server.answer(body())[0] == 200


def test_what_the_models_code_refuses_is_an_error_of_the_model_with_its_words(tmp_path: Path, server: Any) -> None:
    code, answer = server.answer(body(origin={"data": ["LGA"]}))
    assert (code, "an airport nobody knows" in answer["error"]) == (500, True)
    assert logged(tmp_path) == []


@pytest.mark.parametrize("wrong", [lambda given: given * np.nan, lambda given: given[:, 1], lambda given: given[:0]])
def test_a_prediction_that_is_none_is_neither_given_nor_logged(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    monkeypatch.setattr(sys.modules[server.model["estimator"].partition(":")[0]], "answer", wrong)
    code, answer = server.answer(body())
    assert (code, set(answer)) == (500, {"error"})
    assert logged(tmp_path) == []


def test_a_prediction_that_could_not_be_logged_is_not_given_and_not_counted(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server.log, "append", full)
    assert server.answer(body()) == (
        503,
        {"error": "the prediction could not be logged, so it is not returned: No space left on device"},
    )
    assert b'evergreen_rows_total{environment="test",model="small",version="3"} 0.0' in server.metrics.exposition()


@pytest.mark.parametrize("time", ["0013-05-17T08:00:00", "9999-12-31"])
def test_an_event_time_that_can_not_be_meant_is_refused_and_not_logged(tmp_path: Path, server: Any, time: str) -> None:
    code, answer = server.answer(body(at={"data": [time]}))
    assert (code, answer["error"].startswith(f"input 'at': '{time}' is ")) == (400, True)
    assert logged(tmp_path) == []


def test_the_range_of_event_times_comes_from_the_servers_configuration(config: Any) -> None:
    server = ModelServer(config | {"event_time_from_year": 2014, "event_time_days_ahead": 10_000_000})
    assert "is before 2014" in server.answer(body())[1]["error"]
    assert server.answer(body(at={"data": ["9999-12-31"]}))[0] == 200


def test_inputs_become_optional_while_the_server_runs_until_their_day_is_over(
    tmp_path: Path, server: Any, config: Any
) -> None:
    def answer(**changes: Any) -> Any:
        return server.answer(body(**changes))

    file = Path(config["optional_inputs_file"])
    surplus = {"distance": {"name": "miles"}}
    assert (answer(distance=None)[0], answer(**surplus)[0]) == (400, 400)
    file.write_text(json.dumps({"distance": "2999-12-31", "miles": "2999-12-31", "origin": "2020-01-01"}))
    try:
        parameters = answer(distance=None)[1]["parameters"]
        del parameters["server_request_id"]
        assert parameters == {"release": "test@7", "absent_inputs": "distance"}
        parameters = answer(**surplus)[1]["parameters"]
        del parameters["server_request_id"]
        assert parameters == {"release": "test@7", "ignored_inputs": "miles", "absent_inputs": "distance"}
        assert answer(origin=None)[1]["error"] == "missing input(s): origin", "its last day is over"
        file.write_text('{"dist')
        assert answer(distance=None)[0] == 200, "half a file is as if it had not been written yet"
    finally:
        file.unlink()
    assert [line.get("ignored") for line in logged(tmp_path)] == [None, ["miles"], None]
    assert logged(tmp_path)[0]["features"]["distance"] == [None]
    counted = server.metrics.exposition().decode()
    assert 'input="distance",model="small",treated="absent",version="3"} 3.0' in counted
    assert 'input="miles",model="small",treated="ignored",version="3"} 1.0' in counted


def test_each_answer_has_an_id_of_its_own_and_is_logged_under_it(tmp_path: Path, server: Any) -> None:
    answers = [server.answer(body()) for _ in range(3)]
    ids = [answer["id"] for _, answer in answers]
    assert len(set(ids)) == 3
    assert [entry["request_id"] for entry in logged(tmp_path)] == ids
    assert [entry["server_request_id"] for entry in logged(tmp_path)] == ids, "the server's, as the client gave none"


def test_a_clients_id_stays_its_own_and_the_servers_is_another_for_each_answer(tmp_path: Path, server: Any) -> None:
    sent = json.dumps({**request(), "id": "mine"}).encode()
    answers = [server.answer(sent)[1] for _ in range(2)]
    assert [answer["id"] for answer in answers] == ["mine", "mine"]
    own = [answer["parameters"]["server_request_id"] for answer in answers]
    assert len(set(own)) == 2
    assert [(line["request_id"], line["server_request_id"]) for line in logged(tmp_path)] == [
        ("mine", own[0]),
        ("mine", own[1]),
    ]


def test_a_server_without_a_log_asks_for_no_key_and_no_time(config: Any) -> None:
    code, answer = ModelServer(config).answer(body(id=None, at=None))
    assert (code, answer["outputs"][0]["shape"]) == (200, [1])


def test_a_client_may_send_rows_in_another_order_of_columns(server: Any) -> None:
    content = request(2)
    content["inputs"].reverse()
    assert server.answer(json.dumps(content).encode())[1]["outputs"] == server.answer(body(2))[1]["outputs"]


JSON = b'{"inputs": []}' * 100
GZIP = gzip.compress(JSON, mtime=0)  # a header without the time: each of the suite's workers must make the same cases


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (JSON, ""),
        (JSON, "identity"),
        (GZIP, "gzip"),
        (GZIP, " GZIP "),
        (zlib.compress(JSON), "deflate"),
    ],
)
def test_a_compressed_body_is_read(body: bytes, encoding: str) -> None:
    assert decoded(body, encoding, len(JSON)) == JSON


@pytest.mark.parametrize("limit", [1, 999, len(JSON) - 1])
def test_no_more_is_decompressed_than_a_body_may_have(limit: int) -> None:
    with pytest.raises(TooLargeError):
        decoded(GZIP, "gzip", limit)


@pytest.mark.parametrize(
    ("body", "encoding", "code", "words"),
    [
        (JSON, "gzip", 400, "is not gzip"),
        (GZIP[:-9], "gzip", 400, "cut off"),
        (b"", "gzip", 400, "cut off"),
        (JSON, "br", 415, "'br' is not supported; send gzip"),
    ],
)
def test_a_body_that_can_not_be_decompressed_is_refused(body: bytes, encoding: str, code: int, words: str) -> None:
    with pytest.raises(UndecodableError, match=words) as refused:
        decoded(body, encoding, 10_000)
    assert refused.value.code == code
