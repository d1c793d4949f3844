"""The model card says what was decided and why, and shows text of users and data as it is."""

import pytest

from include.core.build import Lineage
from include.core.json_types import JsonObject
from include.pages.model_card import LONGEST_DESCRIPTION, description, model_card, plain, registered_description
from tests.support.specs import columns, model_spec

FIGURES: JsonObject = {
    "quality": {"mae": {"value": 2.5, "low": 2.25, "high": 2.75, "n": 90}},
    "slices": {"zone=<b>x</b>|y": {"mae": {"value": 3.5, "low": None, "high": None, "n": 9}}},
    "champion": {"quality": {"mae": {"value": 3.25, "low": 3.0, "high": 3.5, "n": 90}}},
    "difference": {"metric": "mae", "value": 0.75, "low": 0.5, "high": 1.0},
    "verdict": {"answer": "fail", "reason": "not [better](http://evil)"},
}
FARES = model_spec(
    name="fares",
    task="regression",
    target="price",
    owner="<script>alert(1)</script> team",
    description="Prices of taxi rides.\n# Not a heading",
    features=[
        {"name": "km", "type": "number", "minimum": 0, "maximum": 90, "missing_at_most": 0.05},
        *columns(zone="category"),
    ],
    metrics={"slices": ["zone"]},
)
LINEAGE = Lineage(
    "fares",
    "b1",
    "c" * 40,
    "5" * 64,
    "2013-05",
    ("2013-04", "2013-05"),
    run_id="manual__1",
    reason="drift ![x](http://evil/pixel.png)",
    trained_until="2013-05-24T00:00:00",
    training={"rows": 900, "holdout_rows": 90},
)


def test_the_card_has_verdict_figures_data_origin_and_limits() -> None:
    card = model_card(FARES, LINEAGE, FIGURES)
    assert r"**refused**: not \[better\]\(http&#58;//evil\)" in card
    assert "| mae | 2.5 | 2.25 to 2.75 | 3.25 | 90 |" in card
    assert "Better than the champion by 0.75 mae, interval 0.5 to 1" in card
    assert "- Windows: 2013-04 to 2013-05 (2)" in card
    assert "- Rows: 900 to train on" in card and "c" * 40 in card
    assert "| km | number | from 0; to 90; at most 5% missing |" in card
    assert r"| zone=&#60;b&#62;x&#60;/b&#62;\|y | 3.5 | – | 9 |" in card, "a cell of a table stays one cell"
    assert 'load_model("models:/fares@champion")' in card


def test_text_of_users_and_data_is_no_markup() -> None:
    card = model_card(FARES, LINEAGE, FIGURES)
    for markup in ("<script", "<b>", "](http", "![x]", "\n# Not"):
        assert markup not in card, markup
    assert "<script" not in registered_description(FARES)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\x00d", "a b c d"),
        ("roc_auc", r"roc\_auc"),
        ("www.evil.org", "www&#46;evil.org"),
        ("you@evil.org", "you&#64;evil.org"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_text_is_one_short_line_as_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_the_description_fits_the_registry_and_says_where_the_rest_is() -> None:
    slices = {f"zone={number}": FIGURES["slices"]["zone=<b>x</b>|y"] for number in range(1000)}
    features = [{"name": f"feature_{number}", "type": "number"} for number in range(400)]
    wide = FARES.model_validate(FARES.model_dump(by_alias=True) | {"features": features, "metrics": {"primary": "mae"}})
    card = model_card(wide, LINEAGE, {**FIGURES, "slices": slices})
    assert "and 940 more slices" in card and "and 340 more features" in card
    short = description(card)
    assert len(short) <= LONGEST_DESCRIPTION and short.endswith("card.md among the version's files.")
    assert short.startswith("# fares") and "**refused**" in short
    assert description("short") == "short"


def test_a_first_version_without_champion_or_slices_has_a_card() -> None:
    figures = {"quality": {"mae": {"value": None, "low": None, "high": None, "n": 0}}, "champion": None}
    card = model_card(model_spec(), Lineage(), figures)
    assert "| mae | – | – | – | 0 |" in card and "Slices" not in card
