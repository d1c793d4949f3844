"""``make trace ID=...``: print what an id came from, and what came of it.

Exit codes: 0 found, 2 nothing has this id, 3 several things have it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from include.adapters.spec_file import load_spec
from include.core.errors import AmbiguousIdError, ModelSpecError, UnknownIdError
from include.core.spec import ModelSpec
from include.core.trace import KINDS
from include.pages.trace_text import trace_text
from include.settings import Settings
from include.stages.installation import open_installation
from include.stages.trace import trace


def main(settings: Settings, arguments: Sequence[str]) -> int:
    """Print the trace, or the error to stderr. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='make trace ID="..."', description="From a prediction to its commit and data, and back."
    )
    parser.add_argument(
        "id",
        help="a request's id (the client's, or the server's in the header x-request-id), a version (late:3), release, "
        "build, commit, environment, image, snapshot, window, incident or Dag run",
    )
    parser.add_argument("--model", default="", help="search only this model")
    parser.add_argument("--kind", choices=KINDS, help="search only things of this kind")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    specs, problems = _specs(settings)
    for problem in problems:
        print(problem, file=sys.stderr)
    try:
        traced = trace(open_installation(settings), specs, chosen.id, model=chosen.model, kind=chosen.kind)
    except UnknownIdError as error:
        print(error, file=sys.stderr)
        return 2
    except AmbiguousIdError as error:
        print(error, file=sys.stderr)
        return 3
    print(json.dumps(traced.as_dict(), indent=1) if chosen.json else trace_text(traced))
    return 0


def _specs(settings: Settings) -> tuple[list[ModelSpec], list[str]]:
    """The specs of all models, and the errors of those that are invalid, which are not searched."""
    specs, problems = [], []
    for path in sorted(settings.models.glob("*/model.yaml")):
        try:
            specs.append(load_spec(path))
        except ModelSpecError as error:
            problems.append(str(error))
    return specs, problems
