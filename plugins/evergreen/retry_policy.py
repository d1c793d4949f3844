"""When a task is retried: never for a mistake, twice for an error, for more than five minutes if a server is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryDecision, RetryRule

if TYPE_CHECKING:
    from airflow.sdk import Context

_ERRORS = "include.core.errors"
RETRIES = 2
"""How often a task is retried for an error of its own."""
RETRY_DELAYS = (5, 20, 60, 300)
"""Seconds before each retry while a server is away. Each task's ``retries`` is their number."""
AWAY = RetryRule(
    exception=[
        *("builtins.ConnectionError", "builtins.TimeoutError", "httpx.TransportError", f"{_ERRORS}.UnreachableError"),
        *("requests.exceptions.ConnectionError", "requests.exceptions.Timeout", "sqlalchemy.exc.OperationalError"),
    ]
)
"""Matches the errors of a server that does not respond."""


class OutageRetryPolicy(ExceptionRetryPolicy):
    """Retries a task at growing intervals while a server is away, and RETRIES times for any other error."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Apply the rules, then the delay or the limit for the error's kind. Tries count from the last clearing."""
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action is RetryAction.FAIL:
            return decision
        tries = try_number - max(0, max_tries - len(RETRY_DELAYS))
        if any(map(AWAY.matches, _causes(exception))):
            seconds = RETRY_DELAYS[min(tries, len(RETRY_DELAYS)) - 1]
            return RetryDecision.retry(timedelta(seconds=seconds), "a server does not respond")
        if tries > RETRIES:
            return RetryDecision.fail(f"failed {tries} times, and not because a server did not respond")
        return decision


def _causes(exception: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was raised from."""
    while exception is not None:
        yield exception
        exception = exception.__cause__


RETRY_POLICY = OutageRetryPolicy(
    rules=[
        RetryRule(exception=f"{_ERRORS}.{name}", action=RetryAction.FAIL, reason=reason)
        for name, reason in {
            "RunRefusedError": "the run's parameters must be corrected",
            "DataError": "the data is invalid; the same data would fail again",
            "BuildError": "the commit is faulty; a new commit is needed",
            "TrainingError": "the model's own code failed; a new commit is needed",
            "ArtifactError": "the artifact differs from the recorded one",
            "GateError": "a gate failed; a retry would give the same figures",
            "DeploymentConflictError": "another deployment owns the release",
        }.items()
    ]
    + [
        RetryRule(
            exception=f"{_ERRORS}.PlatformError",
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=RETRY_DELAYS[0]),
            reason="may be transient",
        )
    ]
)
