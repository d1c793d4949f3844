"""The installation: what each stage is handed, so that it reads no environment and opens nothing by itself.

Whoever starts something (an operator, a command, a test) opens it once and passes it on.
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
    """The installation with these settings (default: the environment's); the same object for equal settings.

    Cheap: each driver connects at its first use, and MLflow is imported only then.
    """
    return _open(settings or Settings.from_environment())


@lru_cache(maxsize=8)
def _open(settings: Settings) -> Installation:
    registry = Registry(settings)
    return Installation(settings, Store(settings.store), open_engine(settings, registry), Gateway(settings), registry)
