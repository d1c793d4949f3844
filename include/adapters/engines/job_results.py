"""Reads what a training or scoring job left: the model's code may have written anything into these files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.adapters.untrusted_files import UntrustedFileError, read_json_object
from include.core.build import TrainingReport
from include.core.errors import TrainingError

PARAMETERS, NAME_LENGTH, VALUE_LENGTH = 100, 100, 250
"""How many parameters of the estimator are taken, and the most characters of a name and a value; the runtime has the
same limits, but the model's code can write the report too."""
EARLIER, REASON_LENGTH = "its build is of an earlier release, which did not compile", 500
IMPORTANCES = 2_000
"""How many features' importances are taken."""
REMEDY = "The model's code must not write to it: the platform's own code does."


def read_training_report(file: Path) -> TrainingReport:
    """The content of ``training.json``; TrainingError if it is not what ``runtime.train`` writes."""
    try:
        values = read_json_object(file)
        report = TrainingReport(
            rows=int(values["rows"]),
            holdout_rows=int(values["holdout_rows"]),
            seconds={str(step): float(seconds) for step, seconds in dict(values["seconds"]).items()},
            trained_until=datetime.fromisoformat(values["trained_until"]).isoformat(),
            sha256=str(values["sha256"]),
            # builds of earlier releases report none of these
            parameters=_parameters(values.get("parameters", {})),
            importances=_importances(values.get("importances", {})),
            not_compiled=_printable(str(values.get("not_compiled", EARLIER)))[:REASON_LENGTH],
        )
    except (OSError, UntrustedFileError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise TrainingError(f"{file.name} is not a training's report ({error!r}). {REMEDY}") from None
    return report


def _parameters(values: object) -> dict[str, str]:
    """The estimator's parameters within the limits; TypeError if it is not an object."""
    if not isinstance(values, dict):
        raise TypeError("parameters is not an object")
    short = {
        _printable(name): _printable(text)
        for name, text in values.items()
        if isinstance(text, str) and len(name) <= NAME_LENGTH and len(text) <= VALUE_LENGTH
    }
    return dict(list(short.items())[:PARAMETERS])


def _importances(values: object) -> dict[str, float]:
    """Shares between 0 and 1 by feature; TypeError if it is not an object."""
    if not isinstance(values, dict):
        raise TypeError("importances is not an object")
    shares = {name: share for name, share in values.items() if type(share) in (int, float) and 0 <= share <= 1}
    return {_printable(name)[:NAME_LENGTH]: float(share) for name, share in list(shares.items())[:IMPORTANCES]}


def _printable(text: str) -> str:
    """The text without what databases refuse, such as half a surrogate pair."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def read_rows(file: Path, columns: list[str], most_rows: int) -> pd.DataFrame:
    """Rows that a job predicted; ``columns`` must be among their columns.

    Raises TrainingError if it is not such a Parquet file, or has more than ``most_rows`` rows: a small file can expand
    to any number of rows.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            rows, names = parquet.metadata.num_rows, set(parquet.schema_arrow.names)
            missing = [name for name in columns if name not in names]
            if rows > most_rows or missing:
                problem = f"has no column {missing[0]}" if missing else f"has {rows} rows, more than its data"
                raise TrainingError(f"{file.name} {problem}. {REMEDY}")
            frame: pd.DataFrame = parquet.read(columns=columns).to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{file.name} can't be read ({error}). {REMEDY}") from None
    return frame
