"""Code shared by all jobs: reads the job file and tells a user's mistake from a bug of ours by the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MISTAKE = 3
"""Exit code for an error that the user has to fix; the message on stderr says how."""


class ModelError(Exception):
    """Something in the model's code, data or artifact is wrong; the message names the remedy."""


def run(main: Callable[[Any], None]) -> NoReturn:
    """Run ``main`` on the job file that the command line names, and exit."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        main(job)
    except ModelError as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(MISTAKE)
    sys.exit(0)


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
    temporary.replace(path)
