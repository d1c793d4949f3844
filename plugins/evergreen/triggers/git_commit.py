"""Waits for new commits of a branch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from evergreen.triggers.shared_watch import SharedWatches
from evergreen.triggers.stored_later import stored_later

LONGEST_WAIT = 60.0
UNCHANGED_SECONDS = 60.0
"""Git itself is asked at least this often, also if a repository's files have not changed."""
_heads: SharedWatches[str] = SharedWatches(LONGEST_WAIT)


class GitCommitTrigger(BaseEventTrigger):
    """Sends an event ``{"commit", "branch"}`` for each new head of the branch, starting with the current one.

    The last seen commit is stored with the watched asset some time after its event was sent
    (:mod:`evergreen.triggers.stored_later`), so events are delivered at least once. A repository that can't be reached
    is logged once, with the remedy, and retried with backoff; the trigger never ends because of it. Models that share a
    repository and a branch share one watch. A repository on this machine is read by Git only if its files have changed.

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
        self._read: tuple[Hashable, str, float] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's import path and its arguments, for the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"model": self.model, "url": self.url, "branch": self.branch, "connection": self.connection},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check every ``git_poll_seconds``, and yield an event for each new commit."""
        from include.settings import Settings

        seen, unreachable, number = await self._last_seen(), False, 0
        question, pause = (self.url, self.branch, self.connection), Settings.from_environment().git_poll_seconds
        with _heads.joined(question, self.ask, pause) as head, stored_later(self._store) as store_later:
            while True:
                number, commit = await head.newer(number)
                if isinstance(commit, Exception):
                    unreachable = True
                    self.log.error("can't read the commits of '%s': %s Retrying later.", self.branch, commit)
                    continue
                if unreachable:
                    unreachable = False
                    self.log.info("the repository of '%s' can be reached again", self.branch)
                if commit != seen:
                    yield TriggerEvent({"commit": commit, "branch": self.branch})
                    seen = commit
                    store_later(commit)

    async def ask(self) -> str:
        """The head commit of the branch."""
        from include.adapters.git import newest_commit, refs_state, repository_url
        from include.core.spec import Repository
        from include.settings import Settings

        url = repository_url(Settings.from_environment().home, Repository(url=self.url, branch=self.branch))
        now, state = time.monotonic(), await asyncio.to_thread(refs_state, url, self.branch)
        if self._read and state is not None:
            before, commit, asked = self._read
            if state == before and now - asked < UNCHANGED_SECONDS:
                return commit
        commit = await newest_commit(url, self.branch, self.connection)
        self._read = (state, commit, now)
        return commit

    async def _last_seen(self) -> str:
        if self.asset_state_store is None:
            return ""
        return str(await self.asset_state_store.aget("commit", default="") or "")

    async def _store(self, commit: str) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset("commit", commit)
