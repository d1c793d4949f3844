"""Waits for new commits of a branch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from evergreen.triggers.shared_answers import SharedAnswers

LONGEST_WAIT = 60.0
_heads: SharedAnswers[str] = SharedAnswers()


class GitCommitTrigger(BaseEventTrigger):
    """Sends an event ``{"commit", "branch"}`` for each new head of the branch, starting with the current one.

    The last seen commit is stored with the watched asset after its event was sent, so events are delivered at least
    once. A repository that can't be reached is logged once, with the remedy, and retried with backoff; the trigger
    never ends because of it. Models that share a repository and a branch share what is read of it.

    :param model: name of the model. Airflow merges equal triggers into one, which has no state of its own when it
        watches several assets, so models that share a repository need different triggers.
    :param url: URL of the repository; a relative path is relative to EVERGREEN_HOME.
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
        """The class's import path and its arguments, for the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model, "url": self.url, "branch": self.branch, "connection": self.connection},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check every ``git_poll_seconds``, and yield an event for each new commit."""
        from include.core.errors import EvergreenError
        from include.settings import Settings

        pause = Settings.from_environment().git_poll_seconds
        wait, last_error = pause, ""
        seen = await self._last_seen()
        while True:
            try:
                commit = await self.ask()
            except (EvergreenError, OSError) as error:
                if str(error) != last_error:
                    last_error = str(error)
                    self.log.error("can't read the commits of '%s': %s Retrying later.", self.branch, last_error)
                wait = min(wait * 2, max(LONGEST_WAIT, pause))
            else:
                if last_error:
                    self.log.info("the repository of '%s' can be reached again", self.branch)
                wait, last_error = pause, ""
                if commit != seen:
                    yield TriggerEvent({"commit": commit, "branch": self.branch})
                    seen = commit
                    await self._store(commit)
            await asyncio.sleep(wait * random.uniform(0.9, 1.1))  # so that repositories are not all asked at once

    async def ask(self) -> str:
        """The head commit of the branch: the current one, or of half a period ago if another model asked then."""
        from include.adapters.git import newest_commit, repository_url
        from include.core.spec import Repository
        from include.settings import Settings

        settings = Settings.from_environment()
        url = repository_url(settings.home, Repository(url=self.url, branch=self.branch))
        return await _heads.get(
            (url, self.branch, self.connection),
            partial(newest_commit, url, self.branch, self.connection),
            seconds=settings.git_poll_seconds / 2,
        )

    async def _last_seen(self) -> str:
        if self.asset_state_store is None:
            return ""
        return str(await self.asset_state_store.aget("commit", default="") or "")

    async def _store(self, commit: str) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("commit", commit)
