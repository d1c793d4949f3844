"""Columns as data brings them, and what each value is as a category and as a boolean feature.

One table for the platform (:mod:`include.core.categories`) and for the runtime (:mod:`include.runtime.frames`), which
can't import each other: where they disagreed, a model was monitored on other categories than it was trained on.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

NOT_BOOLEAN = "not a boolean"


class Case(NamedTuple):
    """A column; the text of each value as a category; its value as a boolean (or NOT_BOOLEAN for the column)."""

    name: str
    column: Any
    texts: list[str | None]
    booleans: list[bool | None] | str = NOT_BOOLEAN


CASES = [
    Case("bool", [True, False], ["true", "false"], [True, False]),
    Case("bool with gaps", [True, None, False], ["true", None, "false"], [True, None, False]),
    Case("numpy bool", np.array([True, False]), ["true", "false"], [True, False]),
    Case("numpy bool, object", [np.bool_(True), None], ["true", None], [True, None]),
    Case("nullable boolean", pd.Series([True, None], dtype="boolean"), ["true", None], [True, None]),
    Case("0 and 1", [0, 1], ["0", "1"], [False, True]),
    Case("0.0 and 1.0", [0.0, 1.0], ["0", "1"], [False, True]),
    Case("0.0 and 1.0 with gaps", [0.0, None, 1.0], ["0", None, "1"], [False, None, True]),
    Case("int8", np.array([0, 1], dtype="int8"), ["0", "1"], [False, True]),
    Case("nullable integers", pd.Series([1, None], dtype="Int64"), ["1", None], [True, None]),
    Case("text true", ["true", "false"], ["true", "false"], [True, False]),
    Case("text True", ["True", "FALSE", None], ["True", "FALSE", None], [True, False, None]),
    Case("text 1.0", ["1.0", "0"], ["1.0", "0"], [True, False]),
    Case("other text", ["yes", "EWR"], ["yes", "EWR"]),
    Case("empty text", ["", "a"], ["", "a"]),
    Case("text with gaps", ["a", None, np.nan, pd.NA], ["a", None, None, None]),
    Case("pandas text", pd.Series(["a", None], dtype="str"), ["a", None]),
    Case("integers with gaps", [3.0, None, 12.0], ["3", None, "12"]),
    Case("integers", [3, -12], ["3", "-12"]),
    Case("mixed 3, 3.0 and '3'", [3, 3.0, "3", Decimal("3.00")], ["3", "3", "3", "3"]),
    Case("true beside 1", [True, 1, 1.0], ["true", "1", "1"], [True, True, True]),
    Case("negative zero", [-0.0, 0.0], ["0", "0"], [False, False]),
    Case("floats", [2.5, None], ["2.5", None]),
    Case("float32", np.array([0.5, 3.0], dtype="float32"), ["0.5", "3"]),
    Case("large integers", [2**53 + 1, 2**63 - 1], ["9007199254740993", "9223372036854775807"]),
    Case("huge integers", [10**30], ["1000000000000000000000000000000"]),
    Case("large floats", [1e300, 2.0**53], ["1e+300", "9007199254740992.0"]),
    Case("infinite", [np.inf, -np.inf], ["inf", "-inf"]),
    Case("Decimal", [Decimal(3), Decimal("2.50"), None], ["3", "2.5", None]),
    Case("Decimal 0 and 1", [Decimal(1), Decimal("0.0")], ["1", "0"], [True, False]),
    Case("Decimal with exponent", [Decimal("1E+3"), Decimal("NaN")], ["1000", None]),
    Case("only missing", [None, np.nan, pd.NA], [None, None, None], [None, None, None]),
    Case("NaT", [pd.NaT, "a"], [None, "a"]),
    Case("category of text", pd.Series(["a", None, "b"], dtype="category"), ["a", None, "b"]),
    Case("category of integers", pd.Series([1, 0, 1], dtype="category"), ["1", "0", "1"], [True, False, True]),
    Case("category of booleans", pd.Series([True, None], dtype="category"), ["true", None], [True, None]),
    Case("dictionary-encoded", pa.array(["a", None, "a"]).dictionary_encode().to_pandas(), ["a", None, "a"]),
    Case(
        "dictionary of integers",
        pa.array([1, None, 0]).dictionary_encode().to_pandas(),
        ["1", None, "0"],
        [True, None, False],
    ),
    Case("bytes", [b"abc", None], ["abc", None]),
    Case("two", [0, 1, 2], ["0", "1", "2"]),
    Case("half", [0.5, 1.0], ["0.5", "1"]),
]
