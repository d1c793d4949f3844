"""What a server is told is what the runtime reads, and the same for both engines."""

import ast
import json
from dataclasses import fields
from pathlib import Path

import pytest

from include.adapters.engines.runtime_config import model_block
from include.adapters.engines.server_config import ServerConfig
from include.adapters.serving.gateway import Gateway
from include.adapters.serving.limits import MAX_BODY_BYTES, MAX_ROWS
from include.core.spec import ModelSpec
from include.settings import PROJECT, Settings


@pytest.fixture
def config(spec: ModelSpec) -> ServerConfig:
    return ServerConfig(
        model=model_block(spec, Path("/code")),
        version="3",
        environment="production",
        release="production@7",
        build="b",
        artifact="/artifact",
        sha256="0" * 64,
        host="127.0.0.1",
        port=8100,
        token_file="/token",
        optional_inputs_file="/optional.json",
        log_dir=None,
    )


def test_it_survives_the_trip_through_its_file(config: ServerConfig, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(config.as_json())
    assert ServerConfig.read(tmp_path / "server.json") == config
    assert config.address == "127.0.0.1:8100"


def test_the_runtime_reads_no_key_that_it_does_not_have(config: ServerConfig) -> None:
    """The runtime ships alone, so it can't import the type."""
    read = set()
    for name in ("serve.py", "model_server.py", "routes.py", "health.py", "server_metrics.py"):
        for node in ast.walk(ast.parse((PROJECT / "include" / "runtime" / name).read_text())):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) in (
                "config",
                "self.config",
                "server.config",
                "self.server.config",
            ):
                read.add(ast.literal_eval(node.slice))
    assert {"model", "port", "max_rows", "max_body_bytes"} <= read, "the runtime names its configuration otherwise"
    assert read <= {field.name for field in fields(ServerConfig)}


def test_a_file_that_is_gone_or_half_written_is_an_error_that_callers_expect(
    config: ServerConfig, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No such file"):
        ServerConfig.read(tmp_path / "gone.json")
    (tmp_path / "half.json").write_text(config.as_json()[:40])
    with pytest.raises(ValueError, match="Unterminated string|Expecting"):
        ServerConfig.read(tmp_path / "half.json")


def test_the_gateway_can_send_again_whatever_a_server_takes(config: ServerConfig, tmp_path: Path) -> None:
    assert (config.max_rows, config.max_body_bytes) == (MAX_ROWS, MAX_BODY_BYTES)
    buffers = _values_of("request_buffers", Gateway(Settings(home=tmp_path))._route("flights"))
    assert buffers == [config.max_body_bytes] * len(buffers)
    assert buffers


def _values_of(key: str, values: object) -> list[object]:
    text = json.dumps(values)
    found: list[object] = []

    def look(each: dict[str, object]) -> dict[str, object]:
        found.extend(value for name, value in each.items() if name == key)
        return each

    json.loads(text, object_hook=look)
    return found
