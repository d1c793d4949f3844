"""Waits for new partitions of training data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from evergreen.triggers.stored_later import stored_later

LONGEST_WAIT = 300.0


class DataPartitionTrigger(BaseEventTrigger):
    """Sends an event ``{"window": key}`` for each new partition of the model's training data, oldest first.

    A partition counts as new once two consecutive checks find it unchanged, so that a partition that is still being
    written is not reported. Partitions that exist at the very first check are considered known. Known windows are
    stored with the watched asset some time after their event was sent (:mod:`evergreen.triggers.stored_later`): events
    are delivered at least once, also for partitions that arrived while the triggerer was down. A lake that can't be
    listed is logged once and retried with backoff. A query's result has a partition for each window that has ended and
    has rows; windows older than the newest known one are not looked for.

    :param model: name of the model.
    """

    def __init__(self, model: str):
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's import path and its arguments, for the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check every ``data_poll_seconds``, and yield an event for each new partition."""
        from include.core.errors import EvergreenError
        from include.settings import Settings

        pause = Settings.from_environment().data_poll_seconds
        wait, last_error = pause, ""
        known = await self._known()
        previous: dict[str, str] = {}
        with stored_later(self._store) as store_later:
            while True:
                try:
                    windows = await asyncio.to_thread(self.look, known)
                except (EvergreenError, OSError) as error:
                    if str(error) != last_error:
                        last_error = str(error)
                        self.log.error("%s: can't list training data: %s Retrying later.", self.model, last_error)
                    wait = min(wait * 2, max(LONGEST_WAIT, pause))
                else:
                    wait, last_error = pause, ""
                    if known is None:
                        known = set(windows)
                        await self._store(known)
                    for window, state in windows.items():
                        if window not in known and previous.get(window) == state:
                            yield TriggerEvent({"window": window})
                            known.add(window)
                            store_later(known)
                    previous = windows
                await asyncio.sleep(wait)

    def look(self, known: set[str] | None = None) -> dict[str, str]:
        """The windows that have data now, oldest first, each with a text that changes when its data does.

        Of a query's result, only those later than the ``known`` ones.
        """
        from evergreen.model_dags import spec_of
        from include.adapters.data.partitions import end_of, partition_states
        from include.settings import Settings

        spec = spec_of(self.model)
        home = Settings.from_environment().home
        return partition_states(home, spec.data, spec.monitoring.window, end_of(known or set()))

    async def _known(self) -> set[str] | None:
        if self.asset_state_store is None:
            return None
        stored = await self.asset_state_store.aget("windows", default=None)
        return {str(window) for window in stored} if isinstance(stored, list) else None

    async def _store(self, windows: set[str]) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("windows", [*sorted(windows)])
