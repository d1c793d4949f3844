"""model.yaml: a mistake is reported with file, line, field and remedy."""

from pathlib import Path
from typing import Any

import pytest

from include.adapters.spec_file import load_spec
from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec
from include.settings import PROJECT

FLIGHTS = PROJECT / "include" / "models" / "flights" / "model.yaml"
SPEC = """\
schema: 1
name: late
owner: flight-operations
description: Made up for these tests.
repository: {url: repositories/late.git}
task: binary_classification
target: late
features:
  - {name: distance, type: number}
  - {name: seats, type: number}
  - {name: origin, type: category}
data:
  source: {path: "late/{window}.parquet"}
  key: id
  event_time: at
truth:
  source: {path: "truth/{window}.parquet"}
  key: id
  column: late
  delay_hours: 24
metrics:
  primary: roc_auc
  slices: [origin]
training:
  on_new_data: true
degradation:
  drop: 0.05
  breaches: 2
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Any:
    """Write the spec above with one replacement; returns the error's text."""

    def write(old: str, new: str) -> str:
        assert old in SPEC
        path = tmp_path / "late" / "model.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SPEC.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ModelSpecError) as caught:
            load_spec(path)
        return str(caught.value)

    return write


def line_of(text: str) -> int:
    return SPEC[: SPEC.index(text)].count("\n") + 1


def test_the_bundled_spec_is_valid() -> None:
    assert load_spec(FLIGHTS).name == "flights"


def test_an_unknown_field_is_named_with_its_line(wrong: Any) -> None:
    message = wrong("owner: ", "ovner: ")
    assert f"late/model.yaml:{line_of('owner: ')}: ovner:" in message
    assert "correct its spelling" in message
    assert "owner: Field required" in message


def test_a_wrong_type_says_what_was_found(wrong: Any) -> None:
    message = wrong("delay_hours: 24", "delay_hours: soon")
    assert f"late/model.yaml:{line_of('delay_hours')}: truth.delay_hours:" in message
    assert "'soon'" in message


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("roc_auc", "mae", "metric 'mae' is not available for binary_classification"),
        ("slices: [origin]", "slices: [distance]", "slice 'distance' is not a category"),
        ("{window}", "all", "must contain {window}"),
        ("{name: distance, ", "{name: late, ", "'late' is the target or the key"),
        ("{name: distance, ", "{name: seats, ", "features are listed twice: seats"),
        ("breaches: 2", "breaches: 9", "breaches can't be more than windows"),
        ("schema: 1", "schema: 2", "schema"),
        ("name: late\n", "name: other\n", "is not the folder's name"),
        ("owner: flight-operations", "owner: &a [*a]", "late/model.yaml: has an alias of something that contains it"),
        (
            "owner: flight-operations",
            "owner: " + "[" * 90,
            "late/model.yaml: has more than 32 levels (line 3). Correct",
        ),
        ("owner: flight-operations", "owner: " + "9" * 5000, "late/model.yaml: has a word of more than 1000"),
        ("owner: flight-operations", "owner: 2013-13-01", "late/model.yaml: has a value that can't be read (month"),
        ("owner: flight-operations", "owner: " + "x " * 200_000, "late/model.yaml: has more than 262144 bytes. Write"),
        (
            "  event_time: at\n",
            "  event_time: at\n  dependence: session\n",
            "data.dependence 'session' is not day, none or a feature. Use one of: day, none, distance",
        ),
        (
            "target: late\n",
            "target: late\noptional_inputs: {id: 2027-01-31}\n",
            "'id' is the target, the key or the event",
        ),
        (
            "target: late\n",
            "target: late\noptional_inputs: {rain: soon}\n",
            "optional_inputs.rain: Input should be a valid",
        ),
        (
            "target: late\n",
            "target: late\ndeployment: {shadow: {enough_without_traffic: true}}\n",
            "enough_without_traffic needs a replay. Set requests to at least",
        ),
    ],
)
def test_each_mistake_has_its_remedy(wrong: Any, old: str, new: str, expected: str) -> None:
    assert expected in wrong(old, new)


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:hush@forge.example/pricing/late.git",
        "https://hush@forge.example/pricing/late.git",
        "HTTPS://ann:hu@sh@forge.example/late.git",
        "ssh://git:hush@forge.example/late.git",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(wrong: Any, url: str) -> None:
    """Such a password would be in Airflow's Dags and logs, in MLflow and in the artifact of every version."""
    for old, new in (
        ("url: repositories/late.git", f'url: "{url}"'),
        ("url: repositories/late.git", f'url: a.git, package_indexes: ["{url}"]'),
        ("late/{window}.parquet", f"{url}/{{window}}.parquet"),
    ):
        message = wrong(old, new)
        assert "holds a user name or password" in message
        assert "Airflow connection" in message
        assert "hush" not in message


@pytest.mark.parametrize("url", ["git@forge.example:team/late.git", "ssh://git@forge.example/late.git", "a@b/late.git"])
def test_an_address_with_the_user_of_ssh_is_fine(tmp_path: Path, url: str) -> None:
    path = tmp_path / "late" / "model.yaml"
    path.parent.mkdir()
    path.write_text(SPEC.replace("repositories/late.git", f'"{url}"'), encoding="utf-8")
    assert load_spec(path).repository.url == url


def test_malformed_yaml_is_located(wrong: Any) -> None:
    assert "is not valid YAML" in wrong("features:\n", "features: [\n")


def test_a_field_given_twice_is_an_error(wrong: Any) -> None:
    assert "appears twice" in wrong("target: late", "target: late\ntarget: early")


def test_a_file_that_is_not_a_mapping_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m" / "model.yaml"
    path.parent.mkdir()
    path.write_text("- just\n- a list\n")
    with pytest.raises(ModelSpecError, match="must be a mapping"):
        load_spec(path)


def test_every_field_has_a_description_for_editors() -> None:
    schema = ModelSpec.model_json_schema(by_alias=True)
    parts = [schema, *schema["$defs"].values()]
    fields = [(name, field) for part in parts for name, field in part["properties"].items()]
    undescribed = [name for name, field in fields if "description" not in field and "$ref" not in field]
    assert undescribed == []
