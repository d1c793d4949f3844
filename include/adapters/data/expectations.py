"""Validates a snapshot with Great Expectations, with a suite generated from the model spec."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypedDict

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation

from include.adapters.data.snapshots import Snapshot
from include.core.json_types import JsonObject
from include.core.spec import Feature, ModelSpec
from include.core.verdict import Verdict
from include.core.windows import window_bounds

NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
TEXTS = ["str", "string", "object", "category"]
BOOLEANS = ["bool", "boolean"]
TYPES = {
    "integer": [*NUMBERS, "Int64", "Int32"],
    "number": [*NUMBERS, "Float64"],
    "category": TEXTS,
    "boolean": BOOLEANS + NUMBERS,
}
MAX_FLOAT = sys.float_info.max


class Failure(TypedDict):
    """A check that failed: of which column (or the ``table``), what was expected, and what was observed."""

    column: str
    check: str
    observed: str


def check_snapshot(spec: ModelSpec, snapshot: Snapshot, frame: pd.DataFrame) -> Verdict:
    """The verdict on a snapshot: types, ranges, missing values, categories, uniqueness, row counts and freshness.

    ``signals`` holds ``checks`` (how many) and ``failures``, each with column, check and what was observed.
    """
    failures = [*_count_rows(spec, snapshot, frame), *_types(spec, frame)]
    wrong_type = {failure["column"] for failure in failures}
    suite = [check for check in expectations(spec, snapshot) if getattr(check, "column", None) not in wrong_type]
    failures += _validate(suite, frame)
    checks = len(suite) + len(snapshot.partitions) + len(spec.features)
    signals = {"rows": len(frame), "checks": checks, "failures": failures}
    if not failures:
        return Verdict("pass", f"{checks} checks passed on {len(frame)} rows", signals)
    shown = "; ".join(f"{f['column']}: {f['check']} ({f['observed']})" for f in failures[:5])
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    return Verdict("fail", f"{len(failures)} of {checks} checks failed: {shown}{more}", signals)


def expectations(spec: ModelSpec, snapshot: Snapshot) -> list[Expectation]:
    """The suite: the spec's rules for each column, as Great Expectations' expectations."""
    suite: list[Expectation] = [
        gxe.ExpectColumnValuesToNotBeNull(column=spec.data.key),
        gxe.ExpectColumnValuesToBeUnique(column=spec.data.key),
        gxe.ExpectColumnValuesToNotBeNull(column=spec.data.event_time),
        gxe.ExpectColumnValuesToNotBeNull(column=spec.target),
    ]
    if spec.task == "binary_classification":
        suite.append(gxe.ExpectColumnDistinctValuesToEqualSet(column=spec.target, value_set=[0, 1]))
    else:
        suite.append(gxe.ExpectColumnValuesToBeBetween(column=spec.target, min_value=-MAX_FLOAT, max_value=MAX_FLOAT))
    if spec.data.newest_at_most_days_old is not None:
        _, end = window_bounds(snapshot.window, spec.monitoring.window)
        suite.append(
            gxe.ExpectColumnMaxToBeBetween(
                column=spec.data.event_time, min_value=end - timedelta(days=spec.data.newest_at_most_days_old)
            )
        )
    for feature in spec.features:
        suite.extend(_feature_expectations(feature))
    return suite


def _feature_expectations(feature: Feature) -> Iterator[Expectation]:
    yield gxe.ExpectColumnValuesToNotBeNull(column=feature.name, mostly=1 - feature.missing_at_most)
    if feature.type in ("integer", "number"):
        # The bounds exclude infinity, even if the spec sets no range.
        yield gxe.ExpectColumnValuesToBeBetween(
            column=feature.name,
            min_value=-MAX_FLOAT if feature.minimum is None else feature.minimum,
            max_value=MAX_FLOAT if feature.maximum is None else feature.maximum,
        )
    if feature.categories is not None:
        yield gxe.ExpectColumnValuesToBeInSet(column=feature.name, value_set=list(feature.categories))


def _validate(suite: list[Expectation], frame: pd.DataFrame) -> list[Failure]:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("snapshot").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    results = batch.validate(gx.ExpectationSuite(name="spec", expectations=suite), result_format="BASIC").results
    return [_failure(result) for result in results if not result.success]


def _failure(result: Any) -> Failure:
    config = result.expectation_config
    details = {name: value for name, value in config.kwargs.items() if name not in ("batch_id", "column")}
    raised = [error["exception_message"] for error in _exceptions(result.exception_info)]
    outcome = result.result or {}
    if raised:
        seen = f"could not be checked: {raised[0]}"
    elif outcome.get("unexpected_count"):
        examples = outcome.get("partial_unexpected_list") or []
        seen = f"{outcome['unexpected_count']} rows" + (
            f", such as {examples[:3]}" if any(map(pd.notna, examples)) else ""
        )
    elif outcome.get("observed_value") is not None:
        seen = f"observed {outcome['observed_value']}"
    else:
        seen = "violated"
    limits = ", ".join(f"{name} {_readable(value)}" for name, value in details.items())
    check = config.type.removeprefix("expect_column_").removeprefix("values_to_").replace("_", " ")
    return {"column": config.kwargs.get("column", "table"), "check": f"{check} {limits}".strip(), "observed": seen}


def _exceptions(info: JsonObject) -> list[JsonObject]:
    entries = [info] if "raised_exception" in info else list(info.values())
    return [entry for entry in entries if entry.get("raised_exception")]


def _readable(value: Any) -> str:
    return "finite" if value in (MAX_FLOAT, -MAX_FLOAT) else str(value)


def _types(spec: ModelSpec, frame: pd.DataFrame) -> list[Failure]:
    """Check column types by dtype; Great Expectations would check text columns value by value, 50 times slower."""
    return [
        {
            "column": feature.name,
            "check": f"be of type {feature.type}",
            "observed": f"the column's type is {frame[feature.name].dtype}",
        }
        for feature in spec.features
        if str(frame[feature.name].dtype) not in TYPES[feature.type] and not frame[feature.name].isna().all()
    ]


def _count_rows(spec: ModelSpec, snapshot: Snapshot, frame: pd.DataFrame) -> Iterator[Failure]:
    times = frame[spec.data.event_time]
    for window in snapshot.partitions:
        start, end = window_bounds(window, spec.monitoring.window)
        rows = int(((times >= start) & (times < end)).sum())
        if rows < spec.data.rows_at_least:
            yield {
                "column": "table",
                "check": f"rows in {window} at least {spec.data.rows_at_least}",
                "observed": f"{rows} rows",
            }
