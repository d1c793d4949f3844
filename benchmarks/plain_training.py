"""The baseline for the training Dag: a plain Python script that does the same work without Airflow.

``python -m benchmarks.plain_training <model> <window> <parameters as JSON>``, in the environment of a running platform.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTED = time.perf_counter()


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the duration of the block."""
    start = time.perf_counter()
    yield
    print(f"{name}: {time.perf_counter() - start:.2f} s", flush=True)


def main(model: str, window: str, parameters: str) -> None:
    """Take a snapshot of the window, validate it, train on it with these parameters (JSON), compare and register."""
    with timed("imports"):
        from include.adapters.data.expectations import check_snapshot
        from include.adapters.data.snapshots import read_snapshot, take_snapshot
        from include.adapters.spec_file import load_spec
        from include.core.build import Lineage
        from include.stages import training as candidate
        from include.stages.installation import open_installation
    installation, run_id = open_installation(), f"plain-{time.time_ns()}"
    spec = load_spec(installation.settings.models / model / "model.yaml")
    with timed("snapshot"):
        snapshot = take_snapshot(installation.settings, spec, window)
    with timed("validate"):
        if not check_snapshot(spec, snapshot, read_snapshot(snapshot)).passed:
            raise SystemExit("the data violates its expectations")
    with timed("train"):
        build = installation.store.newest_passed_build(model)
        made = candidate.train(installation, spec, build, snapshot, run_id, json.loads(parameters))
    with timed("compare"):
        verdict = candidate.compare(spec, made)
    with timed("register"):
        lineage = Lineage(model=model, build=build.build_id, commit=build.commit, run_id=run_id)
        bundle = candidate.complete_bundle(spec, Path(made["folder"]), snapshot, lineage)
        installation.registry.register(
            model,
            bundle,
            candidate=run_id,
            metrics={},
            parameters={},
            tags={"verdict": "benchmark"},
            description=str(verdict),
        )
    print(f"total: {time.perf_counter() - STARTED:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:4])
