"""What the tests of the rules share."""

from __future__ import annotations

import pytest

from include.core.spec import ModelSpec
from tests.conftest import PROJECT


@pytest.fixture
def spec() -> ModelSpec:
    """The spec of the bundled example, for rows that are drawn independently of each other and have no times."""
    from include.adapters.spec_file import load_spec

    flights = load_spec(PROJECT / "include" / "models" / "flights" / "model.yaml")
    return flights.model_copy(update={"data": flights.data.model_copy(update={"dependence": "none"})})
