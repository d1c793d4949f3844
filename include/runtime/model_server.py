"""Answers inference requests: parses, predicts, logs and counts, whatever predicts (:mod:`runtime.predictor`)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .config import ServerConfig
from .event_times import EventTimes
from .inference import BadRequestError, Inference, parse
from .optional_inputs import OptionalInputs
from .prediction_log import LogEntry, PredictionLog, new_request_id
from .predictions import require_finite
from .predictor import load_predictor
from .server_metrics import ServerMetrics


def not_logged(error: OSError) -> tuple[int, dict[str, Any]]:
    """Status code and content of the response to a request whose prediction could not be logged."""
    return 503, {"error": f"the prediction could not be logged, so it is not returned: {error.strerror}"}


class ModelServer:
    """A loaded model with its prediction log and its metrics."""

    def __init__(self, config: ServerConfig):
        self.config, self.model = config, config["model"]
        self.predictor = load_predictor(config, self.model)
        described = json.loads((Path(config["artifact"]) / "model.json").read_text(encoding="utf-8"))
        self.metrics = ServerMetrics(config, described["prediction_edges"])
        self.token = Path(config["token_file"]).read_text(encoding="utf-8").strip()
        self.predictor.warm_up()
        self._times = EventTimes(config["event_time_from_year"], config["event_time_days_ahead"])
        self.optional = OptionalInputs(Path(config["optional_inputs_file"]))
        self.log = None
        if config["log_dir"]:
            revision = config["release"].rpartition("@")[2]
            name = f"{config['version']}-{revision}"
            self.log = PredictionLog(Path(config["log_dir"]), name, durable=config.get("durable_log", False))

    def answer(self, body: bytes, json_length: int | None = None) -> tuple[int, dict[str, Any]]:
        """Status code and content of the response to an inference request.

        With ``json_length``, the body is this many bytes of JSON, followed by binary data. The response's ``id`` is the
        client's; the server's own, which no other request has, is among the parameters.
        """
        own_id = new_request_id()
        try:
            request = parse(
                body,
                self.model,
                logged=self.log is not None,
                max_rows=self.config["max_rows"],
                request_id=own_id,
                optional=self.optional.names,
                json_length=json_length,
                times=self._times,
            )
        except BadRequestError as error:
            return 400, {"error": str(error)}
        try:
            predicted = require_finite(self.predictor.predict(request.columns)).tolist()
        except (Exception, SystemExit) as error:  # whatever the model's code raises, the server keeps running
            return 500, {"error": f"the model could not predict: {error}"}
        try:
            self._log(request, own_id, predicted)
        except OSError as error:
            return not_logged(error)
        self.metrics.observe(request.missing, predicted)
        optional = {"ignored": request.ignored, "absent": request.absent, "converted": request.converted}
        self.metrics.count_optional(optional)
        return 200, {
            "model_name": self.model["name"],
            "model_version": self.config["version"],
            "id": request.request_id,
            "parameters": {
                "release": self.config["release"],
                "server_request_id": own_id,
                **{f"{treated}_inputs": ", ".join(names) for treated, names in optional.items() if names},
            },
            "outputs": [{"name": "prediction", "shape": [request.rows], "datatype": "FP64", "data": predicted}],
        }

    def _log(self, request: Inference, own_id: str, predicted: list[float]) -> None:
        if self.log is None:
            return
        entry: LogEntry = {
            "request_id": request.request_id,
            "server_request_id": own_id,
            "received": time.time(),
            "version": self.config["version"],
            "release": self.config["release"],
            "keys": request.keys,
            "event_times": request.event_times,
            "features": request.features,
            "predictions": predicted,
        }
        if request.ignored:
            entry["ignored"] = list(request.ignored)
        self.log.append(entry, sum(request.missing.values()))

    def metadata(self) -> dict[str, Any]:
        """The model's inputs and outputs, in the protocol's format."""
        datatypes = {"integer": "INT64", "number": "FP64", "category": "BYTES", "boolean": "BOOL"}
        names = [(feature["name"], datatypes[feature["type"]]) for feature in self.model["features"]]
        names += [(name, "BYTES") for name in (self.model["key"], self.model["event_time"])]
        return {
            "name": self.model["name"],
            "versions": [self.config["version"]],
            "platform": self.predictor.platform,
            "inputs": [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in dict(names).items()],
            "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [-1]}],
        }
