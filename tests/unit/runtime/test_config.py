"""What platform and runtime write for each other: both describe the same JSON, and neither can import the other."""

import dataclasses
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from include.adapters.engines import runtime_config, server_config
from include.core import build
from include.runtime import config, train


def shape(kind: Any) -> Any:
    """A type as JSON sees it: fields by name, whatever the classes are called; one of several texts is a text."""
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return {name: shape(field) for name, field in get_type_hints(kind).items()}
    if get_origin(kind) is Literal:
        return {type(value) for value in get_args(kind)}.pop()
    if get_origin(kind) is list:
        return [shape(get_args(kind)[0])]
    if type(None) in get_args(kind):
        return {"or null": shape(Union[tuple(set(get_args(kind)) - {type(None)})])}  # noqa: UP007
    return kind


@pytest.mark.parametrize(
    ("platform", "runtime"),
    [
        (runtime_config.ModelBlock, config.Model),
        (runtime_config.ArtifactBlock, config.Artifact),
        (runtime_config.CheckJob, config.CheckJob),
        (runtime_config.TrainJob, config.TrainJob),
        (runtime_config.ScoreJob, config.ScoreJob),
        (server_config.ServerConfig, config.ServerConfig),
        (build.TrainingReport, train.TrainingReport),
    ],
)
def test_platform_and_runtime_mean_the_same_file(platform: type, runtime: type) -> None:
    assert shape(runtime), f"{runtime} has no fields"
    assert shape(platform) == shape(runtime)
