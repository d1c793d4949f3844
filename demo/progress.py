"""The demo's finished steps, in ``EVERGREEN_HOME/demo/progress.json``: each step runs once, also after Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from include.adapters.files import write_atomically


class Progress:
    """Finished steps, each with its result (JSON values) and its duration in seconds."""

    def __init__(self, path: Path):
        self.path = path
        self.steps: dict[str, dict[str, Any]] = {}
        self.ran = 0
        """Number of steps that this process executed itself."""
        if path.exists():
            self.steps = json.loads(path.read_text(encoding="utf-8"))["steps"]

    def once(self, name: str, do: Callable[[], Any]) -> Any:
        """The step's recorded result; if there is none, execute the step and record its result."""
        if name not in self.steps:
            started = time.time()
            result = do()
            self.steps[name] = {"result": result, "started": started, "seconds": round(time.time() - started, 2)}
            self.ran += 1
            self._save()
        return self.steps[name]["result"]

    def done(self, name: str) -> bool:
        """Whether the step is recorded."""
        return name in self.steps

    def seconds(self, prefix: str) -> float:
        """Total seconds of all steps whose name is ``prefix`` or starts with ``prefix/``."""
        seconds: Iterable[float] = (
            step["seconds"] for name, step in self.steps.items() if name == prefix or name.startswith(f"{prefix}/")
        )
        return round(sum(seconds), 1)

    def _save(self) -> None:
        write_atomically(self.path, json.dumps({"steps": self.steps}, indent=1).encode())
