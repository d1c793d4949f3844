"""Bundles of versions without MLflow."""

from __future__ import annotations

from pathlib import Path

from include.adapters.registry import Registry
from include.settings import Settings


class UnregisteredBundles(Registry):
    """Bundles that lie where they are fetched to, though MLflow does not know their versions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.folder = settings.artifacts

    def fetch(self, model: str, number: str) -> Path:
        """The folder of the bundle; nothing is verified."""
        return self.folder / model / number
