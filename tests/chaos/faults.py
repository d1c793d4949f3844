"""The faults: what is killed, stopped, removed or damaged, and in which stage of the loop."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from include.embedded import processes
from tests.chaos.place import Place
from tests.support.waiting import wait_for

KILL, STOP, TERM = signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM


@dataclass(frozen=True)
class Fault:
    """One fault."""

    name: str
    inject: Callable[[Place], Any]
    stage: str = "serving"
    """What the platform is doing meanwhile: ``serving``, ``training``, ``canary`` or ``monitoring``."""
    serves: bool = False
    """Whether the fault hits a process that answers requests, so that those may fail which it was answering."""


def component(name: str, number: signal.Signals) -> Callable[[Place], None]:
    """Send a signal to one of supervisord's programs."""
    return lambda place: os.kill(place.component(name).pid, number)


def watchdog(number: signal.Signals) -> Callable[[Place], None]:
    """Send a signal to the process that looks."""

    def act(place: Place) -> None:
        looking = next(one for one in place.processes("include.embedded.watchdog") if processes.runs(one, "--look"))
        looking.send_signal(number)

    return act


def server(number: signal.Signals) -> Callable[[Place], None]:
    """Send a signal to the server of a model's live version."""
    return lambda place: os.kill(place.server().pid, number)


def supervisor(number: signal.Signals) -> Callable[[Place], None]:
    """Send a signal to supervisord itself."""

    def act(place: Place) -> None:
        for process in place.processes("supervisord"):
            process.send_signal(number)

    return act


def file(path: str, content: str | None = "") -> Callable[[Place], None]:
    """Empty a file below the home, fill it with something else, or remove it (None).

    ``{model}`` is the model's name.
    """

    def act(place: Place) -> None:
        pattern = path.format(model=place.cell.name)
        matching = wait_for(lambda: sorted(place.home.glob(pattern)), 60, pattern)
        for one in matching:
            if content is None:
                one.unlink()
            else:
                one.write_text(content, encoding="utf-8")

    return act


def release_row(place: Place) -> None:
    """The row of the release in production is damaged; its copy in the history is not."""
    with closing(sqlite3.connect(place.home / "evergreen.db", timeout=30)) as database, database:
        database.execute(
            "UPDATE evergreen_releases SET release = '{\"model\": 1' WHERE model = ? AND environment = 'production'",
            [place.cell.name],
        )


def artifact_gone(place: Place) -> None:
    """The local copy of the live version's artifact is removed, and then its server is killed."""
    for folder in (place.home / "artifacts" / place.cell.name).iterdir():
        shutil.rmtree(folder)
    os.kill(place.server().pid, KILL)


def all_servers(place: Place) -> None:
    """All model servers are killed at once."""
    for process in place.processes("runtime.serve"):
        process.kill()


def everything_but_supervisord(place: Place) -> None:
    """All that supervisord runs is killed at once."""
    for process in [child for one in place.processes("supervisord") for child in one.children()]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def alias_gone(place: Place) -> None:
    """The release is as desired, but supervisord has forgotten a server."""
    from include.adapters.supervisord import open_supervisor

    name = next(path.stem for path in (place.run / "servers").glob(f"{place.cell.name}.production.*.conf"))
    open_supervisor(place.run).stopProcess(name)


def down_program(name: str) -> Callable[[Place], None]:
    """A component is stopped through supervisord, as by a mistaken hand."""

    def act(place: Place) -> None:
        from include.adapters.supervisord import open_supervisor

        open_supervisor(place.run).stopProcess(name)

    return act


def both(*actions: Callable[[Place], Any]) -> Callable[[Place], None]:
    """One after the other."""

    def act(place: Place) -> None:
        for action in actions:
            action(place)

    return act


def serving_faults() -> Iterator[Fault]:
    """While requests are answered and nothing else happens."""
    monitored = ["prometheus"] if shutil.which("prometheus") else []
    for name in ("scheduler", "dag-processor", "triggerer", "api-server", "mlflow", *monitored, "watchdog", "caddy"):
        serves = name == "caddy"
        yield Fault(f"kill {name}", component(name, KILL), serves=serves)
        yield Fault(f"stop {name} (SIGSTOP)", component(name, STOP), serves=serves)
    yield Fault("kill the watchdog's process that looks", watchdog(KILL))
    yield Fault("stop the watchdog's process that looks (SIGSTOP)", watchdog(STOP))
    for name in ("scheduler", "api-server", "mlflow", "triggerer"):
        yield Fault(f"end {name} (SIGTERM)", component(name, TERM))
        yield Fault(f"{name} stopped by hand in supervisord", down_program(name))
    yield Fault("kill a model server", server(KILL), serves=True)
    yield Fault("stop a model server (SIGSTOP)", server(STOP), serves=True)
    yield Fault("end a model server (SIGTERM)", server(TERM), serves=True)
    yield Fault("kill all model servers", all_servers, serves=True)
    yield Fault("kill all that supervisord runs", everything_but_supervisord, serves=True)
    yield Fault("a model server stopped by hand in supervisord", alias_gone, serves=True)
    yield Fault("kill supervisord", supervisor(KILL))
    yield Fault("stop supervisord (SIGSTOP)", supervisor(STOP))
    yield Fault("supervisor.sock removed", file("run/supervisor.sock", None))
    yield Fault("supervisord.pid emptied, then supervisord killed", both(file("run/supervisord.pid"), supervisor(KILL)))
    yield Fault("link caddy.sock removed", file("run/caddy.sock", None))
    yield Fault("Caddy's admin socket removed", file("run/caddy-*.sock", None), serves=True)
    yield Fault("mlflow.sock removed", file("run/mlflow.sock", None))
    yield Fault("live emptied", file("run/gateway/{model}/live"), serves=True)
    yield Fault("live removed", file("run/gateway/{model}/live", None), serves=True)
    yield Fault("live names a dead port", file("run/gateway/{model}/live", "127.0.0.1:1"), serves=True)
    yield Fault("live is nonsense", file("run/gateway/{model}/live", "\x00nonsense"), serves=True)
    yield Fault("share is nonsense", file("run/gateway/{model}/share", "zzzz"), serves=True)
    yield Fault("share sends half to no canary", file("run/gateway/{model}/share", "80000000"), serves=True)
    yield Fault("share removed", file("run/gateway/{model}/share", None), serves=True)
    yield Fault(
        "caddy.json emptied, then Caddy killed", both(file("run/caddy.json"), component("caddy", KILL)), serves=True
    )
    yield Fault("a server's .json truncated", file("run/servers/{model}.production.*.json", '{"model"'), serves=True)
    yield Fault("a server's .json removed", file("run/servers/{model}.production.*.json", None), serves=True)
    yield Fault("a server's .conf removed", file("run/servers/{model}.production.*.conf", None))
    yield Fault(
        "a server's .conf emptied, then supervisord killed",
        both(file("run/servers/{model}.production.*.conf"), supervisor(KILL)),
    )
    yield Fault("optional inputs emptied", file("run/servers/{model}.production.*.inputs/optional.json"))
    yield Fault(
        "supervisord.conf emptied, then supervisord killed", both(file("run/supervisord.conf"), supervisor(KILL))
    )
    yield Fault("scrape targets removed", file("targets/*.json", None))
    yield Fault("release row damaged, then supervisord killed", both(release_row, supervisor(KILL)))
    yield Fault("artifact folder removed, then its server killed", artifact_gone, serves=True)


def running_faults() -> Iterator[Fault]:
    """While a training, a canary or a monitoring run goes on."""
    tasks = {
        "training": ("take_snapshot", "validate_snapshot", "train_candidate", "register_candidate"),
        "canary": ("deploy_to_test", "verify_in_test", "start_canary", "watch_canary", "promote_release"),
        "monitoring": ("gather_predictions", "measure_health", "publish_health"),
    }
    first = {"training": "train_candidate", "canary": "watch_canary", "monitoring": "measure_health"}
    for stage, names in tasks.items():
        for name in names:
            yield Fault(f"kill the task {name}", partial(kill_task, name), stage)
        for name in ("scheduler", "api-server", "triggerer"):
            yield Fault(f"kill {name} during {first[stage]}", during(first[stage], component(name, KILL)), stage)
        yield Fault(f"kill supervisord during {first[stage]}", during(first[stage], supervisor(KILL)), stage)
    yield Fault("kill the training process", kill_training, "training")
    for seconds in (60, 600):
        name = f"api-server away for {seconds} s during train_candidate"
        yield Fault(name, during("train_candidate", away(seconds)), "training")
    yield Fault(
        "kill caddy during watch_canary", during("watch_canary", component("caddy", KILL)), "canary", serves=True
    )
    yield Fault("kill the live server during watch_canary", during("watch_canary", server(KILL)), "canary", serves=True)
    yield Fault(
        "live emptied during watch_canary",
        during("watch_canary", file("run/gateway/{model}/live")),
        "canary",
        serves=True,
    )
    yield Fault(
        "canary emptied during watch_canary",
        during("watch_canary", file("run/gateway/{model}/canary")),
        "canary",
        serves=True,
    )
    yield Fault("kill mlflow during train_candidate", during("train_candidate", component("mlflow", KILL)), "training")
    yield Fault("kill the watchdog during watch_canary", during("watch_canary", component("watchdog", KILL)), "canary")


def kill_task(name: str, place: Place) -> None:
    """Kill the process of a task as soon as it runs."""
    place.task(place.before["dag"], place.before["run"], name).kill()


def during(task: str, action: Callable[[Place], Any]) -> Callable[[Place], None]:
    """Act as soon as the task runs."""

    def act(place: Place) -> None:
        place.task(place.before["dag"], place.before["run"], task)
        action(place)

    return act


def kill_training(place: Place) -> None:
    """Kill the model's own process."""
    wait_for(lambda: place.processes("runtime.train"), 120, "the training process")[-1].kill()


def away(seconds: float) -> Callable[[Place], None]:
    """The api-server is killed again and again for so long."""

    def act(place: Place) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(Exception):
                place.component("api-server").kill()
            wait_for(lambda: time.monotonic() > until or _alive(place, "api-server"), seconds + 5, "its next start")

    return act


def _alive(place: Place, name: str) -> bool:
    try:
        return place.component(name).is_running()
    except (psutil.Error, OSError):
        return False


FAULTS = [*serving_faults(), *running_faults()]
QUICK = (
    *("kill watchdog", "stop watchdog (SIGSTOP)", "stop the watchdog's process that looks (SIGSTOP)"),
    *("kill caddy", "stop caddy (SIGSTOP)", "link caddy.sock removed", "live removed"),
    *("kill a model server", "stop a model server (SIGSTOP)", "a server's .json truncated"),
    *(
        "live emptied",
        "live names a dead port",
        "live is nonsense",
        "share is nonsense",
        "share sends half to no canary",
    ),
)
SHORT = [fault for fault in FAULTS if fault.name in QUICK]
"""The few that ``.ci/run`` plays: those that heal within seconds."""
