"""Two tries of a training never run at the same time, and a killed one holds up nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.core.errors import PlatformError
from include.settings import Settings
from include.stages.one_training import only_training
from tests.conftest import PROJECT

HOLDER = """
import sys, time
from pathlib import Path
from include.settings import Settings
from include.stages.one_training import only_training

with only_training(Settings(home=Path(sys.argv[1])), "late"):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_second_try_waits_for_the_first_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(PlatformError, match="late: another training of this model is still running"),
            only_training(settings, "late", seconds=0.2),
        ):
            pass
        with only_training(settings, "other", seconds=0.2):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        with only_training(settings, "late", seconds=10):
            pass
