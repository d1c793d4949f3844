"""Finds logged requests by their id: in the lake, and in the lines of the prediction log that are not gathered yet.

Lines that are not gathered are searched first. If they are gathered meanwhile, they are found twice, never missed.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.adapters.data.gathering import complete_lines, naive_utc
from include.adapters.data.predictions import predictions_folder
from include.adapters.store import Store
from include.adapters.untrusted_files import UntrustedFileError, open_regular
from include.core.json_types import JsonObject
from include.core.trace import FoundRequest, same_request
from include.core.windows import is_window

log = logging.getLogger(__name__)

IDS = ("request_id", "server_request_id")
COLUMNS = (*IDS, "row", "received", "version", "release", "key", "event_time", "prediction")
READERS = 4
"""Files that are read at the same time."""


@dataclass
class Search:
    """The result of a search through a model's requests."""

    found: list[FoundRequest] = field(default_factory=list)
    """Oldest first."""
    files: int = 0
    """Number of files in the lake that were searched."""
    segments: int = 0
    """Number of segments of the prediction log with lines that are not gathered yet."""
    unreadable: list[str] = field(default_factory=list)
    """Files that could not be read."""


def find_requests(model: str, wanted: str, store: Store, log_dir: Path, lake: Path) -> Search:
    """All requests of a model with this id, the client's or the server's.

    Memory is bounded by the size of a file. Of a file in the lake, only the ids are read unless it has the request, and
    nothing if the range of its ids shows that it has not.
    """
    search = Search()
    _search_log(model, wanted, store, log_dir, search)
    folder = predictions_folder(model, lake)
    paths = sorted(path for path in folder.glob("*/*.parquet") if is_window(path.parent.name))
    search.files = len(paths)
    rows: list[JsonObject] = []
    with ThreadPoolExecutor(READERS) as readers:
        for path, those in zip(paths, readers.map(lambda path: _rows_in(path, wanted), paths), strict=True):
            place = str(path.relative_to(lake))
            if those is None:
                search.unreadable.append(place)
            else:
                rows += [{**row, "place": place} for row in those.to_pylist()]
    found = {request.identity: request for request in [*search.found, *_requests(rows)]}
    search.found = sorted(found.values(), key=lambda request: request.received)
    return search


def count_ungathered(model: str, store: Store, log_dir: Path) -> dict[str, int]:
    """Version → number of requests in the prediction log that are not gathered yet.

    A segment is the log of one version, so only one line of each is parsed.
    """
    counts: Counter[str] = Counter()
    for segment, position in _ungathered(model, store, log_dir):
        version = ""
        for _, content in _blocks(model, segment, position, []):
            if not version:
                with suppress(ValueError, KeyError, TypeError, RecursionError):
                    version = str(json.loads(content[: content.index(b"\n")])["version"])
            counts[version] += content.count(b"\n")
    return dict(counts)


def count_gathered(model: str, window: str, lake: Path) -> dict[str, int]:
    """Version → number of rows in a window's folder of the lake, including repeats; files that can't be read add 0."""
    counts: Counter[str] = Counter()
    for path in (predictions_folder(model, lake) / window).glob("*.parquet"):
        with suppress(pa.ArrowException, OSError):
            column = pq.ParquetFile(path).read(columns=["version"]).column(0)
            counts.update({str(each["values"]): each["counts"] for each in pc.value_counts(column).to_pylist()})
    return dict(counts)


def _search_log(model: str, wanted: str, store: Store, log_dir: Path, search: Search) -> None:
    needle = json.dumps(wanted).encode()  # as PredictionLog writes it
    for segment, position in _ungathered(model, store, log_dir):
        search.segments += 1
        for start, content in _blocks(model, segment, position, search.unreadable):
            for offset, line in _lines_with(content, needle):
                with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    request = _logged(json.loads(line), f"{model}/{segment.name}, byte {start + offset}")
                    if wanted in (request.request_id, request.server_request_id):
                        search.found.append(request)


def _ungathered(model: str, store: Store, log_dir: Path) -> Iterator[tuple[Path, int]]:
    """Each segment with lines that are not gathered, and where they start."""
    positions = store.log_positions(model)
    for segment in sorted(log_dir.glob("*.jsonl")):
        position = positions.get(segment.name, 0)
        with suppress(FileNotFoundError):  # removed by housekeeping meanwhile, so gathered
            if segment.lstat().st_size > position:
                yield segment, position


def _blocks(model: str, segment: Path, position: int, unreadable: list[str]) -> Iterator[tuple[int, bytes]]:
    """Complete lines of a segment, in blocks, with the byte where each block starts."""
    try:
        with os.fdopen(open_regular(segment), "rb") as file:
            while content := complete_lines(file, position):
                yield position, content
                position += len(content)
    except (OSError, UntrustedFileError) as error:  # not written by a model server; gathering warns of it
        log.debug("%s: %s", segment, error)
        unreadable.append(f"{model}/{segment.name}")


def _lines_with(content: bytes, needle: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that contain the needle, and where they start."""
    at = content.find(needle)
    while at >= 0:
        start, end = content.rfind(b"\n", 0, at) + 1, content.index(b"\n", at)
        yield start, content[start:end]
        at = content.find(needle, end)


def _logged(line: JsonObject, place: str) -> FoundRequest:
    return FoundRequest(
        request_id=str(line["request_id"]),
        server_request_id=str(line.get("server_request_id") or ""),
        received=float(line["received"]),
        version=str(line["version"]),
        release=str(line.get("release", "")),
        keys=tuple(str(key) for key in line["keys"]),
        event_times=tuple(naive_utc(time) for time in line["event_times"]),
        predictions=tuple(float(value) for value in line["predictions"]),
        place=place,
        gathered=False,
    )


def _rows_in(path: Path, wanted: str) -> pa.Table | None:
    """The rows with this id; None for a file that can't be read."""
    try:
        file = pq.ParquetFile(path)
        names = [name for name in IDS if name in file.schema_arrow.names and _may_have(file, name, wanted)]
        if not names:
            return pa.table({})
        ids = file.read(columns=names)
        masks = [pc.fill_null(pc.equal(ids.column(name), wanted), False) for name in names]
        mask = masks[0] if len(masks) == 1 else pc.or_(*masks)
        if not pc.any(mask).as_py():
            return pa.table({})
        present = [name for name in COLUMNS if name in file.schema_arrow.names]
        return file.read(columns=present).filter(mask)
    except FileNotFoundError:  # removed by housekeeping meanwhile
        return pa.table({})
    except (pa.ArrowException, OSError) as error:
        log.warning("%s can't be read (%s)", path, error)
        return None


def _may_have(file: pq.ParquetFile, name: str, wanted: str) -> bool:
    """Whether a column can have the id, by the smallest and largest ids that the file's metadata has."""
    for group in range(file.num_row_groups):
        columns = file.metadata.row_group(group)
        for column in map(columns.column, range(columns.num_columns)):
            if column.path_in_schema == name:
                known = column.statistics
                if known is None or not known.has_min_max or known.min <= wanted <= known.max:
                    return True
    return False


def _requests(rows: list[JsonObject]) -> list[FoundRequest]:
    """The requests that rows of the lake belong to. Those of one request may lie in the files of several windows."""
    requests: dict[tuple[object, ...], dict[int, JsonObject]] = {}
    for row in rows:
        same = same_request(row["request_id"], row.get("server_request_id"), row["received"], row["version"])
        requests.setdefault(same, {})[row["row"]] = row
    return [_gathered([several[number] for number in sorted(several)]) for several in requests.values()]


def _gathered(rows: list[JsonObject]) -> FoundRequest:
    first = rows[0]
    return FoundRequest(
        request_id=first["request_id"],
        server_request_id=first.get("server_request_id") or "",
        received=first["received"],
        version=first["version"],
        release=first["release"],
        keys=tuple(row["key"] for row in rows),
        event_times=tuple(row["event_time"] for row in rows),
        predictions=tuple(row["prediction"] for row in rows),
        place=", ".join(sorted({row["place"] for row in rows})),
        gathered=True,
    )
