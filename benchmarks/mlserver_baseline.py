"""MLServer as a baseline of the model server: in an environment of its own, with the same pipeline."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import uv

from include.settings import PROJECT
from tests.support.ports import free_ports

REQUIREMENTS = ("mlserver==1.7.1", "uvloop<0.22", "skops")
"""MLServer 1.7.1 needs a uvloop that still has its former policy of event loops."""
MODEL = """
import skops.io as sio
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceResponse


class Flights(MLModel):
    async def load(self):
        path = self.settings.parameters.uri
        self.pipeline = sio.load(path, trusted=sio.get_untrusted_types(file=path))
        return True

    async def predict(self, payload):
        frame = PandasCodec.decode_request(payload)
        frame = frame[list(self.pipeline.feature_names_in_)]
        texts = [name for name in frame if frame[name].dtype == object]
        frame[texts] = frame[texts].map(lambda value: value.decode() if isinstance(value, bytes) else value)
        predicted = self.pipeline.predict_proba(frame)[:, 1]
        outputs = [NumpyCodec.encode_output("prediction", predicted)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
START = """
import json, os, sys
from pathlib import Path
from typing import Any

folder, port = Path(sys.argv[1]), int(sys.argv[2])
log = os.open(folder.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
settings = folder / "settings.json"
settings.write_text(json.dumps(json.loads(settings.read_text()) | {"http_port": port}))
sys.argv = ["mlserver", "start", str(folder)]
from mlserver.cli import main

main()
"""


def command(folder: Path, artifact: str) -> list[str]:
    """What starts MLServer with the pipeline of this bundle; the port is added. Makes its environment."""
    environment, run = folder / "environment", [uv.find_uv_bin(), "--quiet"]
    folder.mkdir()
    subprocess.run([*run, "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    own = PROJECT / "include" / "models" / "flights" / "requirements.txt"
    named = [*REQUIREMENTS, "--requirement", str(own)]
    subprocess.run([*run, "pip", "install", "--python", str(python), "--compile-bytecode", *named], check=True)
    served = folder / "served"
    served.mkdir()
    grpc, metrics = free_ports(2)
    settings = {"debug": False, "parallel_workers": 0, "host": "127.0.0.1", "grpc_port": grpc, "metrics_port": metrics}
    (served / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    model: dict[str, Any] = {"name": "flights", "implementation": "flights_model.Flights"}
    model |= {"parameters": {"uri": f"{artifact}/model.skops"}}
    (served / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    (served / "flights_model.py").write_text(MODEL, encoding="utf-8")
    (folder / "start.py").write_text(START, encoding="utf-8")
    return [str(python), str(folder / "start.py"), str(served)]
