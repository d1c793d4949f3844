"""The file from which a model's trigger forms take their suggestions: one per model, replaced as a whole.

Dag files read it whenever they are parsed, so reading needs no database and never fails.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock

from include.adapters.files import write_atomically
from include.adapters.untrusted_files import UntrustedFileError, read_json_object
from include.core.choices import Choices, Part

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024


def choices_file(folder: Path, model: str) -> Path:
    """The file in ``folder`` with one model's suggestions."""
    return folder / f"{model}.json"


def read_choices(folder: Path, model: str) -> Choices:
    """The model's suggestions; none if the file is missing or damaged."""
    try:
        return Choices.from_dict(read_json_object(choices_file(folder, model), MAX_BYTES))
    except FileNotFoundError:
        return Choices()
    except (OSError, UntrustedFileError) as error:
        log.warning("%s: no suggestions in the trigger forms: %s: %s", model, choices_file(folder, model), error)
        return Choices()


def write_choices(folder: Path, model: str, parts: Mapping[Part, tuple[str, ...]]) -> None:
    """Replace these parts of the model's suggestions; the others stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{model}.lock"):
        before = read_choices(folder, model)
        after = replace(before, **{str(part): texts for part, texts in parts.items()})
        if after != before:
            write_atomically(choices_file(folder, model), json.dumps(asdict(after), indent=1).encode())
