"""A compiled model that is not as it was registered, or that this ONNX Runtime can't run, is never served."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.runtime import serve
from include.runtime.compiled import MISSING, CompiledModel, load_compiled
from include.runtime.hashes import file_hash
from include.runtime.jobs import MISTAKE, ModelError
from include.runtime.model_server import ModelServer
from tests.support.compiled_models import (
    CLASSIFIER,
    NUMBERS,
    REGRESSOR,
    REGRESSOR_CODE,
    server_config,
    small_classifier,
)
from tests.support.small_model import FEATURES, body, model_block, small_data

CLASSIFICATION: Any = {"task": "binary_classification", "features": FEATURES}
REGRESSION: Any = {"task": "regression", "features": NUMBERS}


def regressor(folder: Path) -> Any:
    model = model_block(
        folder / "code", REGRESSOR_CODE, estimator="bare", task="regression", target="delay", features=NUMBERS
    )
    return server_config(folder, model, REGRESSOR, small_data().dropna())


def test_a_file_that_was_changed_is_not_loaded(tmp_path: Path, run_job: Any) -> None:
    config = small_classifier(tmp_path)
    file = Path(config["artifact"]) / "model.onnx"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    code, said = run_job(serve.main, config)
    assert (code, "It was changed or damaged and is not loaded" in said) == (MISTAKE, True)
    file.unlink()
    code, said = run_job(serve.main, config)
    assert (code, "model.onnx can't be read" in said) == (MISTAKE, True), "it does not fall back to model.skops"


def test_a_file_that_is_no_model_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"can't be loaded by ONNX Runtime .*Train again.*training\.compile"):
        load_compiled(tmp_path, file_hash(tmp_path / "model.onnx"), CLASSIFICATION)


def test_an_operator_set_that_the_runtime_does_not_know_is_refused_by_name() -> None:
    content = CLASSIFIER.read_bytes()
    own = b"\n\nai.onnx.ml\x10"  # field domain of 10 bytes, then the field version
    position = content.rindex(own) + len(own)
    with pytest.raises(ModelError, match=r"(?s)opset|ai\.onnx\.ml"):
        CompiledModel(content[:position] + b"\x7f" + content[position + 1 :], CLASSIFICATION)


def test_a_model_of_other_features_is_refused() -> None:
    other: Any = {"task": "regression", "features": [{"name": "speed", "type": "number"}]}
    with pytest.raises(ModelError, match="other inputs than the model's features: distance, night, origin"):
        CompiledModel(CLASSIFIER.read_bytes(), other)


def test_a_prediction_that_is_not_finite_is_an_error_of_the_model_and_not_logged(tmp_path: Path) -> None:
    config = regressor(tmp_path)
    server = ModelServer(config | {"log_dir": str(tmp_path / "log")})
    assert server.predictor.platform == "onnxruntime"
    assert server.answer(body(origin=None))[0] == 200
    code, answer = server.answer(body(origin=None, distance={"data": [None]}))
    assert (code, "1 of 1 predictions are not finite" in answer["error"]) == (500, True)
    code, answer = server.answer(body(origin=None, distance={"data": [1e300]}))
    assert (code, "not finite" in answer["error"]) == (500, True), "beyond float32 it is an error, not another number"
    (segment,) = (tmp_path / "log").iterdir()
    assert len(segment.read_bytes().splitlines()) == 1


def test_a_regressor_takes_its_features_by_name_and_predicts_as_it_was_fitted(tmp_path: Path) -> None:
    config = regressor(tmp_path)
    compiled, fitted = ModelServer(config), ModelServer(config | {"compiled": None})
    for distance, night in ((100.0, True), (999.5, False), (0, True)):
        asked: dict[str, list[Any]] = {"distance": [distance], "night": [night]}
        assert compiled.predictor.predict(asked) == pytest.approx(fitted.predictor.predict(asked), rel=1e-5)


def test_a_bundle_of_an_earlier_release_is_served_by_its_estimator(tmp_path: Path) -> None:
    config = small_classifier(tmp_path)
    del config["compiled"]
    server = ModelServer(config)
    assert server.predictor.platform == "scikit-learn"
    assert server.answer(body())[0] == 200


@pytest.mark.parametrize("text", ["", "EWR", MISSING, "é" * 1000, "EWR\0"])
def test_any_text_is_a_category(text: str) -> None:
    model = CompiledModel(CLASSIFIER.read_bytes(), CLASSIFICATION)
    asked: dict[str, list[Any]] = {"distance": [1.0], "origin": [text], "night": [None]}
    predicted = model.predict(asked)
    assert np.isfinite(predicted).all() and ((predicted >= 0) & (predicted <= 1)).all()


def test_what_the_log_gets_is_what_was_sent(tmp_path: Path) -> None:
    server = ModelServer(small_classifier(tmp_path) | {"log_dir": str(tmp_path / "log")})
    server.answer(body(distance={"data": [7]}, origin={"data": ["Zürich\u2028"]}, night={"data": [None]}))
    (segment,) = (tmp_path / "log").iterdir()
    assert json.loads(segment.read_bytes())["features"] == {
        "distance": [7],
        "origin": ["Zürich\u2028"],
        "night": [None],
    }
