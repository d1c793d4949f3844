"""``make bench``: runs all benchmarks one after the other, prints a table and writes JSON.

Every figure is printed next to its baseline from the same run. Takes about an hour; needs the default ports free. Each
module also runs alone, such as ``python -m benchmarks.loop``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from include.settings import PROJECT

MODULES = (
    *("parse_time", "coverage", "model_pages", "loop", "serving"),
    *("engines", "many_servers", "many_models", "executors", "drift"),
)
"""Each prints its figures as lines of JSON, ``[what, figure]``."""


def main() -> None:
    """Run all benchmarks; print each figure when it is measured, and all of them as one table at the end."""
    rows: list[tuple[str, str]] = []
    for name in MODULES:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for line in process.stdout or ():
            if line.startswith("["):
                what, figure = json.loads(line)
                rows.append((what, figure))
                print(f"{what}: {figure}", flush=True)
        if process.wait() != 0:
            raise SystemExit(f"benchmarks.{name} failed; see its error above")
    path = PROJECT / ".evergreen" / "bench.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(json.dumps(dict(rows), indent=1), encoding="utf-8")
    print(f"\n| measured by `make bench` | {os.cpu_count()} cores |\n| --- | --- |")
    print("\n".join(f"| {what} | {figure} |" for what, figure in rows))


if __name__ == "__main__":
    main()
