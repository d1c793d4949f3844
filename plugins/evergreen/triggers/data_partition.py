"""Waits for new partitions of training data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

LONGEST_WAIT = 300.0


class DataPartitionTrigger(BaseEventTrigger):
    """An event ``{"window": key}`` for each new partition of the model's training data, oldest first.

    A partition counts as new when it has not changed between two looks, so that one that is still being written is
    left alone. What is there when the data is first watched is taken as known. The known windows are kept with the
    watched asset, after their event was handed over: events come at least once, also of partitions that arrived while
    nothing was watching. A lake that can't be listed is logged once and listed again with growing pauses.

    :param model: name of the model; its ``data.source`` must be files.
    """

    def __init__(self, model: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the triggerer finds this class, and its arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every ``data_poll_seconds``, and yield an event for each new partition."""
        from include.core.errors import EvergreenError
        from include.settings import Settings

        pause = Settings.from_environment().data_poll_seconds
        wait, trouble = pause, ""
        known = await self._known()
        before: dict[str, str] = {}
        while True:
            try:
                windows = await asyncio.to_thread(self.look)
            except (EvergreenError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self.log.error("%s: can't list training data: %s Looking again later.", self.model, trouble)
                wait = min(wait * 2, max(LONGEST_WAIT, pause))
            else:
                wait, trouble = pause, ""
                if known is None:
                    known = set(windows)
                    await self._keep(known)
                for window, state in windows.items():
                    if window not in known and before.get(window) == state:
                        yield TriggerEvent({"window": window})
                        known.add(window)
                        await self._keep(known)
                before = windows
            await asyncio.sleep(wait)

    def look(self) -> dict[str, str]:
        """The windows that have a partition now, oldest first, and the state of each one's file."""
        from evergreen.model_dags import spec_of
        from include.adapters.data.sources import partition_states
        from include.settings import Settings

        return partition_states(Settings.from_environment().home, spec_of(self.model).data.source)

    async def _known(self) -> set[str] | None:
        if self.asset_state_store is None:
            return None
        kept = await self.asset_state_store.aget("windows", default=None)
        return {str(window) for window in kept} if isinstance(kept, list) else None

    async def _keep(self, windows: set[str]) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("windows", [*sorted(windows)])
