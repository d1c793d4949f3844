"""What one model's stores know of its builds, versions, releases, windows and incidents; each is read once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from include.adapters.data.predictions import gathered_rows
from include.adapters.data.request_search import Search, count_gathered, count_ungathered, find_requests
from include.adapters.data.snapshots import Snapshot, load_snapshot, snapshot_hashes
from include.adapters.registered_versions import version_records
from include.core.build import Build
from include.core.errors import DataError, EvergreenError, PlatformError
from include.core.health.record import HealthRow, Incident
from include.core.release.release import RecordedRelease
from include.core.spec import ModelSpec
from include.core.trace_nodes import VersionRecord
from include.stages.installation import Installation

UNGATHERED = "requests not gathered yet"
"""Among the numbers of predictions by window: requests in the log, of which neither window nor rows are counted yet."""


@dataclass
class Records:
    """The records of one model."""

    installation: Installation
    spec: ModelSpec
    notes: list[str] = field(default_factory=list)
    """What could not be read, in sentences."""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.name

    @cached_property
    def builds(self) -> list[Build]:
        """All builds, newest first."""
        return self.installation.store.builds(self.model)

    @cached_property
    def releases(self) -> list[RecordedRelease]:
        """All revisions of production, then of the test environment; oldest first."""
        store = self.installation.store
        return [*store.release_history(self.model), *store.release_history(self.model, "test")]

    @cached_property
    def production(self) -> list[RecordedRelease]:
        """All revisions of production, oldest first."""
        return [recorded for recorded in self.releases if recorded.release.environment == "production"]

    @cached_property
    def health(self) -> dict[str, HealthRow]:
        """The health of each measured window."""
        return {row.window: row for row in self.installation.store.health(self.model)}

    @cached_property
    def incidents(self) -> list[Incident]:
        """All incidents, oldest first."""
        return self.installation.store.incidents(self.model)

    @cached_property
    def versions(self) -> list[VersionRecord]:
        """All registered versions, newest first."""
        try:
            return version_records(self.installation.registry, self.model)
        except PlatformError as error:
            self.notes.append(f"No versions of {self.model} were searched: {error}")
            return []

    def version(self, number: str) -> VersionRecord | None:
        """One version, None if it is not registered. One without tags gets its lineage from its bundle."""
        version = next((one for one in self.versions if one.number == number), None)
        if version is None or version.lineage.commit:
            return version
        try:
            return replace(version, lineage=self.installation.registry.lineage(self.model, number))
        except (EvergreenError, OSError, ValueError) as error:
            self.notes.append(f"{self.model} version {number}: where it comes from can't be read: {error}")
            return version

    def snapshot(self, snapshot_hash: str) -> Snapshot | None:
        """A snapshot's manifest; None if it was removed."""
        try:
            return load_snapshot(self.installation.settings.lake, self.model, snapshot_hash)
        except DataError:
            return None

    @cached_property
    def snapshots(self) -> list[str]:
        """The hashes of all snapshots whose manifests are in the lake."""
        return snapshot_hashes(self.installation.settings.lake, self.model)

    def release_at(self, time: float) -> RecordedRelease | None:
        """The revision of production that was in effect; None if that was before the first one."""
        return next((one for one in reversed(self.production) if one.recorded <= time), None)

    def promoted(self, number: str) -> RecordedRelease | None:
        """The first revision with this version as champion; None if it was never promoted."""
        return next((one for one in self.production if one.release.champion == number), None)

    def find_requests(self, wanted: str) -> Search:
        """The requests with this id, the client's or the server's."""
        settings, log_dir = self.installation.settings, self.installation.settings.prediction_log / self.model
        self._fetch_log()
        search = find_requests(self.model, wanted, self.installation.store, log_dir, settings.lake)
        if search.unreadable:
            self.notes.append(f"These files of predictions can't be read: {', '.join(search.unreadable)}.")
        return search

    @cached_property
    def predictions(self) -> dict[str, dict[str, int]]:
        """Version → window → how many predictions it made.

        Repeats are counted once in windows that were measured since their last rows were gathered.
        """
        settings, counts = self.installation.settings, {}
        rows = gathered_rows(self.model, settings.lake, self.spec.monitoring.window)
        for window in sorted({*rows, *self.health}):
            row = self.health.get(window)
            measured = row and rows.get(window) in (None, row.predictions + row.service.duplicates)
            counts[window] = (
                {version: traffic.rows for version, traffic in row.service.versions.items()}
                if row and measured
                else count_gathered(self.model, window, settings.lake)
            )
        self._fetch_log()
        log_dir = settings.prediction_log / self.model
        counts[UNGATHERED] = count_ungathered(self.model, self.installation.store, log_dir)
        versions = {version for by_version in counts.values() for version in by_version}
        return {
            version: {window: by_version[version] for window, by_version in counts.items() if version in by_version}
            for version in versions
        }

    def _fetch_log(self) -> None:
        try:
            self.installation.engine.fetch_predictions(self.model)
        except EvergreenError as error:
            self.notes.append(f"{self.model}: the newest lines of the prediction log can't be fetched: {error}")
