"""What a page draws of a column: all rows of both sides, in few bars whose labels tell them apart."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.core.drift.columns import drift
from include.core.drift.counts import count_frame
from include.core.drift.figures import DriftFigure
from include.core.drift.profile import build_profile
from include.core.drift.side_by_side import BARS, DRAWN, worth_drawing
from tests.unit.core.monitored_rides import ride_spec, rides

SPEC = ride_spec()


def drawn(column: str, before: pd.DataFrame, now: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Label → share of the reference and of the window."""
    profile = build_profile(before, SPEC, before.prediction)
    found = drift(profile, count_frame(now, profile, SPEC), SPEC)
    shares = found.columns[column].distribution
    assert shares
    json.dumps(asdict(shares), allow_nan=False)
    assert len(set(shares.bins)) == len(shares.bins) <= BARS
    assert sum(shares.reference) == pytest.approx(1, abs=1e-4)
    assert sum(shares.window) == pytest.approx(1, abs=1e-4)
    return dict(zip(shares.bins, zip(shares.reference, shares.window, strict=True), strict=True))


def test_a_number_has_the_bins_of_its_psi_with_readable_edges() -> None:
    bars = drawn("prediction", rides(), rides(seed=1).assign(prediction=99.0))
    assert len(bars) == 10
    assert [round(before, 1) for before, _ in bars.values()] == [0.1] * 10
    first, *between, last = bars
    assert first.startswith("up to ")
    assert all(" to " in label and len(label) < 16 for label in between)
    assert bars[last] == pytest.approx((0.1, 1.0), abs=0.02), "what is above all of the reference is in its last bin"


def test_few_values_have_a_bar_each_and_strangers_their_own() -> None:
    before = rides().assign(hour=lambda f: f.hour % 3)
    bars = drawn("hour", before, before.assign(hour=before.hour.where(before.index % 2 == 0, 9)))
    assert list(bars) == ["0", "1", "2", "above 2"]
    assert bars["above 2"] == (0.0, 0.5)
    assert list(drawn("hour", before.assign(hour=7), before.assign(hour=7))) == ["7"]


def test_up_to_twenty_values_share_bars() -> None:
    before = rides().assign(hour=lambda f: f.hour % 20)
    assert list(drawn("hour", before, before))[:2] == ["0 to 1", "2 to 3"]


def test_missing_values_have_a_bar_of_their_own() -> None:
    now = rides(seed=1).assign(distance=lambda f: f.distance.where(f.index % 4 != 0))
    assert drawn("distance", rides(), now)["missing"] == (0.0, 0.25)
    assert "missing" not in drawn("distance", rides(), rides(seed=1))


def test_a_column_that_is_empty_on_one_side_or_both_is_drawn() -> None:
    empty = rides().assign(distance=None)
    assert drawn("distance", empty, rides(seed=1)) == {"any value": (0.0, 1.0), "missing": (1.0, 0.0)}
    assert drawn("distance", rides(), empty)["missing"] == (0.0, 1.0)
    assert drawn("distance", empty, empty)["missing"] == (1.0, 1.0)


def test_new_categories_are_seen_beside_the_frequent_ones() -> None:
    bars = drawn("zone", rides(), rides(seed=1).assign(zone=lambda f: f.zone.replace("c", "d")))
    shown = {label: share > 0 for label, (_, share) in bars.items()}
    assert shown == {"a": True, "b": True, "c": False, "d (new)": True}


def test_many_and_long_categories_stay_few_and_short_bars() -> None:
    many = rides().assign(zone=[f"{'zone ' * 50}{n % 300}" for n in range(5000)])
    now = many.assign(zone=[f"{n} {'new ' * 50}" for n in range(5000)])
    profile = build_profile(many, SPEC, many.prediction)
    for frame in (many, now):
        shares = drift(profile, count_frame(frame, profile, SPEC), SPEC).features["zone"].distribution
        assert len(shares.bins) <= BARS
        assert max(map(len, shares.bins)) <= 40
        assert shares.bins[-1] == "all others"


def test_large_and_close_numbers_get_as_many_digits_as_tell_them_apart() -> None:
    before = rides().assign(prediction=np.linspace(1_000_000, 1_000_100, 5000))
    assert next(iter(drawn("prediction", before, before))) == "up to 1,000,010"
    wide = rides().assign(prediction=np.linspace(0, 123_456, 5000))
    assert next(iter(drawn("prediction", wide, wide))) == "up to 12,300"


def test_what_drifted_is_drawn_first_and_only_the_worst_are() -> None:
    figures = {
        f"f{n}": DriftFigure({"psi": n / 100, "ks": None}, limits={"psi": 0.01 * (1 + n % 5)}, status="steady")
        for n in range(40)
    }
    figures["small"] = DriftFigure({"psi": 0.001}, limits={"psi": 0.0005}, status="drifted")
    figures["unknown"] = DriftFigure()
    assert worth_drawing(figures)[:3] == ["small", "f35", "f30"]
    assert len(worth_drawing(figures)) == DRAWN


def test_a_window_without_rows_or_reference_is_not_drawn() -> None:
    for profile, rows in ((None, 10), (build_profile(rides(), SPEC, rides().prediction), 0)):
        found = drift(profile, count_frame(rides(rows), profile, SPEC), SPEC)
        assert not any(figure.distribution for figure in found.columns.values())


@settings(max_examples=60)
@given(*[st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1, max_size=60)] * 2)
def test_all_rows_of_any_numbers_are_in_a_bar(before: Any, now: Any) -> None:
    reference = rides(len(before)).assign(distance=pd.Series(before, dtype=float))
    drawn("distance", reference, rides(len(now)).assign(distance=pd.Series(now, dtype=float)))
