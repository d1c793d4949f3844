"""A deprecated call in our own code fails the test that makes it; what libraries do among themselves does not."""

import warnings
from typing import Any

import pytest


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
@pytest.mark.parametrize(
    "module", ["include.core.spec", "evergreen.assets", "demo", "tests.conftest", "unusual_prefix_0a1b_ci"]
)
def test_a_deprecation_in_our_code_is_an_error(category: Any, module: str) -> None:
    with pytest.raises(category, match="old"):
        warnings.warn_explicit("old", category, "a.py", 1, module=module)


def test_a_deprecation_in_a_library_is_not() -> None:
    for module in ("alembic.config", "includes_something"):
        with warnings.catch_warnings(record=True):
            warnings.warn_explicit("old", DeprecationWarning, "a.py", 1, module=module)
