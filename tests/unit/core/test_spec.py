"""model.yaml: a mistake is reported with file, line, field and remedy."""

import pytest

from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec
from include.core.spec_file import load_spec
from include.settings import PROJECT

FLIGHTS = PROJECT / "include" / "models" / "flights" / "model.yaml"


@pytest.fixture
def wrong(tmp_path):
    """Write the flights spec with one replacement; returns the error's text."""

    def write(old: str, new: str) -> str:
        text = FLIGHTS.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "flights" / "model.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ModelSpecError) as caught:
            load_spec(path)
        return str(caught.value)

    return write


def line_of(text: str) -> int:
    return FLIGHTS.read_text(encoding="utf-8")[: FLIGHTS.read_text(encoding="utf-8").index(text)].count("\n") + 1


def test_the_bundled_spec_is_valid():
    assert load_spec(FLIGHTS).name == "flights"


def test_an_unknown_field_is_named_with_its_line(wrong):
    message = wrong("owner: ", "ovner: ")
    assert f"flights/model.yaml:{line_of('owner: ')}: ovner:" in message
    assert "correct its spelling" in message
    assert "owner: Field required" in message


def test_a_wrong_type_says_what_was_found(wrong):
    message = wrong("delay_hours: 24", "delay_hours: soon")
    assert f"flights/model.yaml:{line_of('delay_hours')}: truth.delay_hours:" in message
    assert "'soon'" in message


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("roc_auc", "accuracy", "metric 'accuracy' is not one for binary_classification"),
        ("slices: [origin]", "slices: [distance]", "slice 'distance' is not a category"),
        ("{window}", "all", "must contain {window}"),
        ("{name: month, ", "{name: late, ", "'late' is the target or the key"),
        ("{name: month, ", "{name: seats, ", "features are listed twice: seats"),
        ("breaches: 2", "breaches: 9", "breaches can't be more than windows"),
        ("schema: 1", "schema: 2", "schema"),
        ("name: flights", "name: other", "is not the folder's name"),
    ],
)
def test_each_mistake_has_its_remedy(wrong, old, new, expected):
    assert expected in wrong(old, new)


def test_malformed_yaml_is_located(wrong):
    assert "is not valid YAML" in wrong("features:\n", "features: [\n")


def test_a_field_given_twice_is_an_error(wrong):
    assert "is given twice" in wrong("target: late", "target: late\ntarget: early")


def test_a_file_that_is_not_a_mapping_is_an_error(tmp_path):
    path = tmp_path / "m" / "model.yaml"
    path.parent.mkdir()
    path.write_text("- just\n- a list\n")
    with pytest.raises(ModelSpecError, match="must be a mapping"):
        load_spec(path)


def test_every_field_has_a_description_for_editors():
    schema = ModelSpec.model_json_schema(by_alias=True)
    parts = [schema, *schema["$defs"].values()]
    fields = [(name, field) for part in parts for name, field in part["properties"].items()]
    undescribed = [name for name, field in fields if "description" not in field and "$ref" not in field]
    assert undescribed == []
