"""Gathered predictions that can't be read are gathered again, and never left out."""

from pathlib import Path

import pytest

from include.adapters.data import gathering
from include.adapters.data.gathering import repair_window
from include.adapters.data.predictions import gathered_rows, read_predictions
from include.core.errors import DataError
from include.core.spec import ModelSpec
from tests.unit.adapters.data.logged_place import MODEL, SPEC, Place, request


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "empty", "not Parquet", "a damaged page", "gone"])
def test_a_part_that_can_not_be_read_is_gathered_again(
    place: Place, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are still in the segment; a part is written for each chunk of it."""
    monkeypatch.setattr(gathering, "CHUNK_BYTES", 600)
    place.segment("a", "".join(request(number) for number in range(6)))
    place.gather()
    before = place.keys()
    _, second, *others = sorted(place.lake.glob("predictions/late/2013-05/*.parquet"))
    whole = {path: path.read_bytes() for path in (second, *others)}
    content = whole[second]
    if damage == "a damaged page":
        second.write_bytes(content[:4] + b"\xff" * 300 + content[304:])
    else:
        second.write_bytes({"cut off": content[:200], "empty": b"", "not Parquet": b"rows"}.get(damage, b""))
    with pytest.raises(DataError, match=rf"(?s){second.name}: can't be read .* It is gathered again with its window"):
        read_predictions(MODEL, "2013-05", place.lake)
    assert gathered_rows("late", place.lake, "month")["2013-05"] not in range(100) or damage == "a damaged page"

    if damage == "gone":
        place.log.joinpath("a.jsonl").rename(place.log / "b.jsonl")
        with pytest.raises(DataError, match=r"the prediction log that it came from is gone \(.*a\.jsonl\).* backup"):
            repair_window(MODEL, "2013-05", place.store, place.log, place.lake)
        assert second.exists(), "a window with fewer rows would look complete"
        return
    assert repair_window(MODEL, "2013-05", place.store, place.log, place.lake) == [second]
    assert {path: path.read_bytes() for path in (second, *others)} == whole
    assert place.keys() == before
    assert repair_window(MODEL, "2013-05", place.store, place.log, place.lake) == []


def test_a_repair_that_is_killed_never_leaves_fewer_rows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window would look complete without them."""
    place.segment("a", request(1))
    place.gather()
    before = place.keys()
    (path,) = read_predictions(MODEL, "2013-05", place.lake).files
    path.write_bytes(b"damaged")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gathering, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            repair_window(MODEL, "2013-05", place.store, place.log, place.lake)
    with pytest.raises(DataError, match="can't be read"):
        place.keys()
    assert repair_window(MODEL, "2013-05", place.store, place.log, place.lake) == [path]
    assert place.keys() == before


def test_a_stray_file_that_can_not_be_read_is_named(place: Place) -> None:
    place.segment("a", request(1))
    place.gather()
    stray = place.lake / "predictions" / "late" / "2013-05" / "copy of a.parquet"
    stray.write_bytes(b"whatever")
    with pytest.raises(DataError, match=r"copy of a\.parquet can't be read.* remove the file"):
        repair_window(MODEL, "2013-05", place.store, place.log, place.lake)


def test_a_damaged_part_of_another_window_length_is_gathered_into_todays(place: Place) -> None:
    place.segment("a", request(1))
    place.gather()
    before = place.keys()
    (path,) = read_predictions(MODEL, "2013-05", place.lake).files
    path.write_bytes(b"damaged")
    daily = ModelSpec.model_validate(SPEC | {"monitoring": {"window": "day"}})
    assert repair_window(daily, "2013-05-17", place.store, place.log, place.lake) == [path]
    assert not path.exists()
    assert sorted(read_predictions(daily, "2013-05-17", place.lake).frame.key) == before
