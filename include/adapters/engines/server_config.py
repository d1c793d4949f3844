"""A model server's configuration: the JSON file that ``runtime.serve`` reads, the same for both engines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from include.adapters.engines.runtime_config import ModelBlock
from include.adapters.serving.limits import MAX_BODY_BYTES, MAX_ROWS
from include.core.release.release import Environment
from include.core.spec import ModelSpec


def optional_inputs(spec: ModelSpec) -> str:
    """The content of a server's file of optional inputs."""
    return json.dumps({name: day.isoformat() for name, day in spec.optional_inputs.items()})


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of one model server; paths are as seen by the server."""

    model: ModelBlock
    version: str
    environment: Environment
    release: str
    build: str
    artifact: str
    """Folder with the version's bundle."""
    sha256: str
    """The registered hash of the artifact."""
    host: str
    port: int
    token_file: str
    optional_inputs_file: str
    """Inputs that requests may lack or have in addition; may change while the server runs."""
    log_dir: str | None
    """Folder of the prediction log; None in the test environment, where nothing is logged."""
    compiled: str | None = None
    """The registered hash of ``model.onnx``; None if the version has none."""
    durable_log: bool = False
    """Whether a response waits until its prediction is on the disk."""
    max_rows: int = MAX_ROWS
    max_body_bytes: int = MAX_BODY_BYTES
    event_time_from_year: int = 1970
    event_time_days_ahead: int = 400
    """Requests with earlier or later event times are refused."""

    @property
    def address(self) -> str:
        """The host and port on which the server listens."""
        return f"{self.host}:{self.port}"

    def as_json(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, file: Path) -> ServerConfig:
        """Read a configuration file; OSError or ValueError if it does not exist (any more) or is incomplete."""
        values = json.loads(file.read_text(encoding="utf-8"))
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{file} is not a server's configuration: {error}") from error
