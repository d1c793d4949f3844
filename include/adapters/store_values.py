"""What can be stored as JSON in the store's tables."""

from __future__ import annotations

import json
from typing import Any


def plain(values: Any) -> Any:
    """JSON values only; NaN and infinity become null."""
    return json.loads(json.dumps(values, default=str), parse_constant=lambda _: None)
