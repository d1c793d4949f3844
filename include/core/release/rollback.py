"""Which releases a rollback can go back to, and whether a run has already rolled back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from include.core.errors import RunRefusedError
from include.core.release.release import RecordedRelease, Release


@dataclass(frozen=True)
class EarlierRelease:
    """A version that was champion earlier, with the last time span (epoch seconds) in which it was."""

    version: str
    since: float
    until: float


def earlier_releases(history: Sequence[RecordedRelease]) -> list[EarlierRelease]:
    """The champions of earlier revisions (``history``: oldest first), newest first, each once, without the current."""
    spans: list[EarlierRelease] = []
    champion, since = None, 0.0
    for recorded in history:
        now = recorded.release.champion
        if now != champion:
            if champion:
                spans.append(EarlierRelease(champion, since, recorded.recorded))
            champion, since = now, recorded.recorded
    newest = {span.version: span for span in spans if span.version != champion}
    return sorted(newest.values(), key=lambda span: span.until, reverse=True)


def has_rolled_back(history: Sequence[RecordedRelease], run: str) -> bool:
    """Whether ``run`` has made a rollback, so that a retry makes no second one, whatever was deployed since."""
    return any(recorded.release.is_rollback_of(run) for recorded in history)


def check_target(to: str, release: Release, targets: Collection[str]) -> str:
    """The version to roll back to, as the registry writes it; refused unless it is in ``targets``.

    While a rollout is in progress, it may also be the champion: then only the rollout is ended.
    """
    number = str(int(to)) if to.isascii() and to.isdigit() else to
    if number in targets or (release.rollout and number == release.champion):
        return number
    problem = "is in production already" if number == release.champion else "is not an earlier release"
    raise RunRefusedError(
        f"parameter 'to': version '{number}' {problem} (earlier releases: {', '.join(targets) or 'none'}). "
        "Choose one of these, clear the field for the previous release, or deploy the version instead: untick "
        "'rollback' and enter it as 'version'."
    )
