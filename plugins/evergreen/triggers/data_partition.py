"""Waits for new partitions of training data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

LONGEST_WAIT = 300.0


class DataPartitionTrigger(BaseEventTrigger):
    """An event ``{"window": key}`` for each new partition of the model's training data, oldest first.

    What is there when the data is first watched is taken as known. The known windows are kept with the watched
    asset, after their event was handed over: events come at least once. A lake that can't be listed is logged
    once and listed again with growing pauses.

    :param model: name of the model; its ``data.source`` must be files.
    :param poll_seconds: pause between two looks.
    """

    def __init__(self, model: str, poll_seconds: float = 30.0):
        super().__init__()
        self.model = model
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model, "poll_seconds": self.poll_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:  # type: ignore[override]
        from include.core.errors import EvergreenError

        wait, trouble = self.poll_seconds, ""
        known = await self._known()
        while True:
            try:
                windows = await asyncio.to_thread(self.look)
            except (EvergreenError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self.log.error("%s: can't list training data: %s Looking again later.", self.model, trouble)
                wait = min(wait * 2, max(LONGEST_WAIT, self.poll_seconds))
            else:
                wait, trouble = self.poll_seconds, ""
                if known is None:
                    known = set(windows)
                    await self._keep(known)
                for window in windows:
                    if window not in known:
                        yield TriggerEvent({"window": window})
                        known.add(window)
                        await self._keep(known)
            await asyncio.sleep(wait)

    def look(self) -> list[str]:
        """The windows that have a partition now, oldest first."""
        from evergreen.model_dags import spec_of
        from include.adapters.lake import known_windows

        return known_windows(spec_of(self.model).data.source)

    async def _known(self) -> set[str] | None:
        if self.asset_state_store is None:
            return None
        kept = await self.asset_state_store.aget("windows", default=None)
        return {str(window) for window in kept} if isinstance(kept, list) else None

    async def _keep(self, windows: set[str]) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("windows", [*sorted(windows)])
