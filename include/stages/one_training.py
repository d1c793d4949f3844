"""One training of a model at a time: two tries of a task must not write to the same folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from include.core.errors import PlatformError
from include.settings import Settings

LOCK_SECONDS = 120.0
"""How long a training waits for an earlier try of it to end."""


@contextmanager
def only_training(settings: Settings, model: str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the model's lock, which the kernel releases with this process.

    A try that Airflow has given up, because it could not report, may still run for a while. Raises PlatformError, which
    is retried, if it has not ended after ``seconds``.
    """
    settings.run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.run / f"training-{model}.lock", timeout=seconds):
            yield
    except Timeout:
        raise PlatformError(
            f"{model}: another training of this model is still running, probably an earlier try of this task. This "
            "task is retried; if that does not help, see 'make status'."
        ) from None
