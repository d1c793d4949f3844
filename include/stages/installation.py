"""The installation that is passed to each stage, so that stages read no environment and open nothing themselves.

The caller (an operator, a command, a test) opens it once and passes it on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from include.adapters.engines.choice import open_engine
from include.adapters.engines.contract import Engine
from include.adapters.registry import Registry
from include.adapters.serving.gateway import Gateway
from include.adapters.store import Store
from include.settings import Settings


@dataclass(frozen=True)
class Installation:
    """The settings and the drivers made from them."""

    settings: Settings
    store: Store
    engine: Engine
    gateway: Gateway
    registry: Registry


def open_installation(settings: Settings | None = None) -> Installation:
    """The installation for these settings (default: from the environment); cached by settings.

    Cheap: drivers connect on first use, and MLflow is only imported then.
    """
    return _open(settings or Settings.from_environment())


@lru_cache(maxsize=8)
def _open(settings: Settings) -> Installation:
    registry = Registry(settings)
    return Installation(settings, Store(settings.store), open_engine(settings, registry), Gateway(settings), registry)
