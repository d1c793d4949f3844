"""Loads a version with MLflow: ``mlflow.pyfunc.load_model("models:/<model>@champion")``.

MLflow imports this module because the version's ``MLmodel`` names it. So it works where Evergreen's project folder is
on PYTHONPATH, and MLflow and the model's own libraries are installed. Files are compared with the hashes in the
registry, and the artifact is loaded as the model servers load it: skops with a list of allowed types, never pickle.
Code of the model's own (feature code, classes) is taken from the folder in EVERGREEN_MODEL_CODE, a checkout of the
version's commit, or else from the build in EVERGREEN_HOME.

Belongs to none of the rooms: it runs in a notebook or a script, with the runtime's code but without the platform.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.settings import PROJECT, Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from include.runtime.config import Model

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "EVERGREEN_MODEL_CODE"
REGISTERED = "registered_model_meta"
"""The file in which MLflow leaves name and number of the version that it loads."""


class PredictingModel:
    """A loaded version: predicts from a data frame of raw features, with the fitted estimator.

    Model servers may use its compiled form instead, whose predictions differ by at most training.compile_tolerance.
    """

    def __init__(self, fitted: Any, model: Model, may_lack: list[str]) -> None:
        self._fitted, self._model, self._may_lack = fitted, model, may_lack

    def predict(self, inputs: pd.DataFrame) -> np.ndarray:
        """One number per row, shape [n]: the probability of the positive class, or the value itself."""
        from include.runtime import model_code
        from include.runtime.predictions import require_finite

        frame = inputs.assign(**{name: None for name in self._may_lack if name not in inputs})
        features = model_code.prepare(self._model, frame)
        return require_finite(model_code.call(model_code.predict, "predict", self._model, self._fitted, features))


def _load_pyfunc(path: str) -> PredictingModel:
    """What ``mlflow.pyfunc.load_model`` calls with the folder of the version's files."""
    try:
        from include.runtime import artifact
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"This model needs '{error.name}', which is not installed here. Install the requirements.txt among the "
            "version's files and the requirements of the model's own repository, then load it again.",
            name=error.name,
        ) from error
    folder = Path(path)
    sha256 = _registered_hash(folder)
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    model = _model_block(spec, _code_folder(spec, folder))
    may_lack = [feature["name"] for feature in spec["features"] if feature.get("missing_at_most", 0) > 0]
    return PredictingModel(artifact.load(folder, sha256, model), model, may_lack)


def _registered_hash(folder: Path) -> str:
    """The hash of the artifact, after all files of the version were compared with those that were registered."""
    import yaml

    from include.runtime import artifact
    from include.runtime.hashes import file_hash
    from include.runtime.jobs import ModelError

    if not (folder / REGISTERED).exists():
        log.warning(
            "%s was not loaded as models:/<model>/<version>, so its files are not compared with the registry.", folder
        )
        return artifact.describe(folder)["sha256"]
    from mlflow.tracking import MlflowClient

    known = yaml.safe_load((folder / REGISTERED).read_text(encoding="utf-8"))
    tags = MlflowClient().get_model_version(known["model_name"], str(known["model_version"])).tags
    recorded = {**json.loads(tags["evergreen.files"]), "model.skops": tags["sha256"]}
    for name, registered in recorded.items():
        if not (folder / name).is_file() or file_hash(folder / name) != registered:
            raise ModelError(
                f"{known['model_name']} version {known['model_version']}: {name} is not what was registered. It was "
                "changed or damaged and is not loaded: choose another version."
            )
    return str(tags["sha256"])


def _model_block(spec: dict[str, Any], code: Path) -> Model:
    """The runtime's description of the model, from the specification that it was made with."""
    return {
        "name": spec["name"],
        "task": spec["task"],
        "target": spec["target"],
        "key": spec["data"]["key"],
        "event_time": spec["data"]["event_time"],
        "features": [{"name": feature["name"], "type": feature["type"]} for feature in spec["features"]],
        "estimator": spec["estimator"],
        "feature_code": spec["feature_code"],
        "parameters": {},
        "trusted_types": spec["trusted_types"],
        "code": str(code),
    }


def _code_folder(spec: dict[str, Any], folder: Path) -> Path:
    """The folder of the model's own code; this project's if none is needed. ModelError if it is needed but not here."""
    from include.runtime.jobs import ModelError

    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    named = os.environ.get(FOLDER_VARIABLE)
    build = Settings.from_environment().builds / spec["name"] / lineage["build"] / "code" / spec["repository"]["path"]
    code = Path(named) if named else build
    if code.is_dir():
        return code.resolve()
    if named or spec["feature_code"] or spec["trusted_types"]:
        raise ModelError(
            f"{spec['name']} needs its own code, and {code} is not a folder. Check out commit {lineage['commit']} of "
            f"{spec['repository']['url']}, and set {FOLDER_VARIABLE} to the model's folder in it."
        )
    return PROJECT
