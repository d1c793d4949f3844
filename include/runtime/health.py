"""Health check in a server's own container: ``python -m runtime.health config.json`` exits with 0 when it is ready."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path


def main() -> int:
    """Ask the server of this container whether it is ready; returns the exit code."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    token = Path(config["token_file"]).read_text(encoding="utf-8").strip()
    url = f"http://127.0.0.1:{config['port']}/v2/health/ready"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return 0 if response.status == 200 else 1
    except OSError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
