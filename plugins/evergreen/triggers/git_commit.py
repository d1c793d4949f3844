"""Waits for new commits of a branch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

LONGEST_WAIT = 60.0


class GitCommitTrigger(BaseEventTrigger):
    """An event ``{"commit", "branch"}`` for each new commit that the branch is seen at, the present one first.

    The last seen commit is kept with the watched asset. Events come at least once: the commit is kept after its
    event was handed over. A repository that can't be asked is logged once, with the remedy, and asked again with
    growing pauses; the trigger never ends because of it.

    :param model: name of the model. Airflow runs equal triggers as one, which has no state of its own when it watches
        several assets; so models that share a repository need triggers that differ.
    :param url: URL of the repository; a relative path is taken below EVERGREEN_HOME.
    :param branch: branch to watch.
    :param connection: Airflow connection of type git, for private repositories.
    """

    def __init__(self, model: str, url: str, branch: str, connection: str | None = None):
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.url = url
        self.branch = branch
        self.connection = connection

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the triggerer finds this class, and its arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model, "url": self.url, "branch": self.branch, "connection": self.connection},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask every ``git_poll_seconds``, and yield an event for each new commit."""
        from include.core.errors import EvergreenError
        from include.settings import Settings

        pause = Settings.from_environment().git_poll_seconds
        wait, trouble = pause, ""
        seen = await self._last_seen()
        while True:
            try:
                commit = await self.ask()
            except (EvergreenError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    self.log.error("can't see commits of '%s': %s Asking again later.", self.branch, trouble)
                wait = min(wait * 2, max(LONGEST_WAIT, pause))
            else:
                if trouble:
                    self.log.info("the repository of '%s' answers again", self.branch)
                wait, trouble = pause, ""
                if commit != seen:
                    yield TriggerEvent({"commit": commit, "branch": self.branch})
                    seen = commit
                    await self._keep(commit)
            await asyncio.sleep(wait)

    async def ask(self) -> str:
        """The commit that the branch stands at now."""
        from include.adapters.git import newest_commit, repository_url
        from include.core.spec import Repository
        from include.settings import Settings

        settings = Settings.from_environment()
        return await newest_commit(
            repository_url(settings.home, Repository(url=self.url, branch=self.branch)), self.branch, self.connection
        )

    async def _last_seen(self) -> str:
        if self.asset_state_store is None:
            return ""
        return str(await self.asset_state_store.aget("commit", default="") or "")

    async def _keep(self, commit: str) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("commit", commit)
