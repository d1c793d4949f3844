"""The sections on data: features, sources, training data and ground truth."""

from __future__ import annotations

import codecs

from pydantic import Field, model_validator

from include.core.spec.fields import Address, Column, FeatureType, Fraction, SpecSection


class Expectation(SpecSection):
    """Which values a column may have; checked on every snapshot before training."""

    minimum: float | None = Field(None, description="Smallest allowed value.")
    maximum: float | None = Field(None, description="Largest allowed value.")
    categories: list[str] | None = Field(None, description="The only allowed values.")
    missing_at_most: Fraction = Field(
        0.0,
        description="Largest allowed share of missing values. With 1, a partition of the data may lack the column.",
    )


class Feature(Expectation):
    """One input column of the model."""

    name: Column = Field(description="Column name in training data and in prediction requests.")
    type: FeatureType = Field(description="integer, number, category (text) or boolean.")


PREDICTION = Feature(name="prediction", type="number")
"""The model's prediction, where it is counted and compared like a feature."""


class FileSource(SpecSection):
    """Partitioned Parquet or CSV files, one per window, local or in object storage."""

    path: Address = Field(description="Path or fsspec URL with {window} in it, such as 'flights/{window}.parquet'.")
    connection: str = Field(
        "evergreen_lake", description="Airflow connection with the root path or the storage options."
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Character between the fields of CSV.")
    encoding: str = Field("utf-8", description="Encoding of CSV, such as utf-8 or latin-1.")
    na_values: list[str] = Field(
        default_factory=list, description="Texts that stand for a missing value in CSV, besides the empty field."
    )

    @model_validator(mode="after")
    def _names_window(self) -> FileSource:
        if "{window}" not in self.path:
            raise ValueError("must contain {window}, which stands for the partition's key")
        if not self.path.endswith((".parquet", ".csv", ".csv.gz")):
            raise ValueError("must end in .parquet, .csv or .csv.gz")
        return self

    @model_validator(mode="after")
    def _csv_can_be_read(self) -> FileSource:
        given = {"delimiter": self.delimiter != ",", "encoding": self.encoding != "utf-8", "na_values": self.na_values}
        if any(given.values()) and self.path.endswith(".parquet"):
            names = ", ".join(name for name, value in given.items() if value)
            raise ValueError(f"{names}: only for CSV. Remove them, or name a .csv file")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"encoding '{self.encoding}' is not known. Use a name such as utf-8 or latin-1") from None
        return self


class SqlSource(SpecSection):
    """A query through an Airflow connection; ``:start`` and ``:end`` are the window's bounds."""

    query: str = Field(description="SELECT with :start (included) and :end (excluded).")
    connection: str = Field(description="Airflow connection of the database.")

    @model_validator(mode="after")
    def _names_bounds(self) -> SqlSource:
        if ":start" not in self.query or ":end" not in self.query:
            raise ValueError("must use :start and :end, the bounds of the window")
        return self


class Data(SpecSection):
    """Training data."""

    source: FileSource | SqlSource = Field(description="Where partitions come from.")
    key: Column = Field(description="Column that identifies a row; unique within a snapshot.")
    event_time: Column = Field(description="Column with the event timestamp (UTC).")
    event_time_from_year: int = Field(
        1970,
        ge=1,
        le=9999,
        description="Prediction requests with an earlier event timestamp are refused. Applies to servers that start "
        "later.",
    )
    event_time_days_ahead: int = Field(
        400,
        ge=0,
        le=100_000,
        description="Prediction requests with an event timestamp more than this many days in the future are refused. "
        "Applies to servers that start later.",
    )
    dependence: str = Field(
        "day",
        description="Which rows depend on each other: those of one day (day), those with the same value of a feature "
        "(its name, such as a session or a turbine), or none. Intervals and gates draw such rows together.",
    )
    rows_at_least: int = Field(100, ge=1, description="Minimum number of rows in a partition.")
    newest_at_most_days_old: float | None = Field(
        None, gt=0, description="Freshness: the newest row may be at most this many days older than the window's end."
    )


class Truth(SpecSection):
    """Ground truth: the actual values of the target, which arrive later than the predictions."""

    source: FileSource | SqlSource = Field(
        description="Where ground truth comes from, partitioned by the event's window."
    )
    key: Column = Field(description="Column that matches the data's key.")
    column: Column = Field(description="Column with the actual value of the target.")
    delay_hours: float = Field(24, ge=0, description="How long after the event ground truth is complete.")
