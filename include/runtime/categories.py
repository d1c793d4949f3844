"""The one rule by which a value becomes the text of a category, and a text becomes a boolean.

It is the platform's (include/core/categories.py); both run the same test cases. Imports no pandas, so that the server
of a compiled model needs none.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

LARGEST_EXACT = 2**53
"""From here on, floats no longer represent every integer exactly, so they are formatted as floats."""
BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def truth(text: str | None) -> float:
    """1.0 or 0.0 for the text of a boolean, NaN for None; ValueError for anything else."""
    if text is None:
        return np.nan
    number = text.lower().removesuffix(".0")
    if number not in BOOLEANS:
        raise ValueError(f"'{text}', which is not a boolean (true, false, 1 or 0)")
    return BOOLEANS[number]


def label(value: Any) -> str:
    """A category as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        whole = float(value).is_integer() and -LARGEST_EXACT < float(value) < LARGEST_EXACT
        return str(int(value)) if whole else str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    return str(value)
