"""What the platform ``celery`` refuses before it starts anything."""

from __future__ import annotations

import pytest

from include.embedded import processes
from tests.chaos.worker_faults import WORKER_FAULTS
from tests.support.running_platform import new_platform, short_folder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_what_can_not_be_honoured_is_refused_before_anything_is_started() -> None:
    with short_folder() as folder:
        platform = new_platform(folder / "h")
        platform.env["AIRFLOW__CORE__EXECUTOR"] = "CeleryExecutor"
        refused = platform.command("up")
        assert (refused.returncode, "set EVERGREEN_PLATFORM=celery" in refused.stderr) == (1, True), refused.stderr
        del platform.env["AIRFLOW__CORE__EXECUTOR"]
        platform.env["EVERGREEN_PLATFORM"] = "celery"
        refused = platform.command("up")
        assert (refused.returncode, "needs EVERGREEN_DATABASE_URL" in refused.stderr) == (1, True), refused.stderr
        assert "needs EVERGREEN_BROKER_URL" in refused.stderr
        assert processes.of_installation(platform.settings) == []


def test_the_other_faults_are_played_by_make_chaos() -> None:
    assert len({fault.name for fault in WORKER_FAULTS}) == len(WORKER_FAULTS) >= 9
