"""Wait until the canary has passed all its steps."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from evergreen.links import ModelLink, RolloutLink
from evergreen.model_task import PRODUCTION, ModelTask
from include.core.errors import GateError

if TYPE_CHECKING:
    from include.core.verdict import Verdict

LOG_SECONDS = 60
"""A verdict that does not change is logged this often."""


class CanarySensor(ModelTask, BaseSensorOperator):
    """Judge the canary until its last step has passed; a failed verdict fails the task immediately.

    The state is stored in the release, so that a killed or rescheduled sensor continues with the same step. Returns the
    last verdict.

    :param model: name of the model.
    """

    ui_color = PRODUCTION
    operator_extra_links = (ModelLink(), RolloutLink())
    _logged: tuple[str, str, float] | None = None
    """Answer and reason (without its numbers) of the verdict that was logged last, and when."""

    def poke(self, context: Context) -> PokeReturnValue:
        """Judge the canary's current step once."""
        from include.stages import deployment

        verdict, finished = deployment.watch_canary(self.installation, self.spec, context["dag_run"].run_id)
        self._log_news(verdict)
        if verdict.answer == "fail":
            raise GateError(f"{self.model}: the canary failed and was rolled back: {verdict}")
        return PokeReturnValue(finished, verdict.as_dict())

    def _log_news(self, verdict: Verdict) -> None:
        """Log a verdict that differs from the one logged last, and an unchanged one (with its figures) once a minute.

        A sensor in mode ``reschedule`` is a new process for each check, so each is logged; it checks at most twice a
        minute.
        """
        now, last = time.monotonic(), self._logged
        reason = re.sub(r"[\d.]+", "", verdict.reason)  # counts differ at each check
        if last is None or last[:2] != (verdict.answer, reason) or now - last[2] >= LOG_SECONDS:
            self.log.info("%s", verdict)
            self._logged = (verdict.answer, reason, now)
