"""Suggestions in the trigger forms, read from a small file whenever a Dag file is parsed."""

from __future__ import annotations

from typing import Any

from evergreen.form_param import FormParam
from include.adapters.choices_file import read_choices
from include.core.choices import Choices
from include.settings import Settings


def known_choices(model: str) -> Choices:
    """What one model's forms may suggest; nothing if there is no such file yet."""
    return read_choices(Settings.from_environment().choices, model)


def suggesting(suggestions: tuple[str, ...], **described: Any) -> FormParam:
    """A text field of the form, empty by default, that suggests these texts and accepts any other."""
    # The form says "start typing to see options" for an empty list, too.
    more: dict[str, Any] = {"examples": list(suggestions)} if suggestions else {}
    return FormParam(None, type=["null", "string"], **described, **more)
