"""The lists of model servers that Prometheus reads."""

import json
from pathlib import Path

from include.adapters.engines.contract import RunningServer
from include.adapters.engines.scrape_targets import targets_file, write_targets
from include.core.spec import ModelSpec
from include.settings import Settings
from include.stages.installation import open_installation
from include.stages.reconciler import reconcile


def test_each_server_is_a_target_with_the_labels_of_its_figures(tmp_path: Path) -> None:
    servers = {version: RunningServer(version, f"127.0.0.1:{8100 + int(version)}", "ready") for version in ("2", "1")}
    write_targets(tmp_path, "flights", "production", servers)
    assert json.loads(targets_file(tmp_path, "flights", "production").read_text(encoding="utf-8")) == [
        {
            "targets": [f"127.0.0.1:{8100 + number}"],
            "labels": {"model": "flights", "version": str(number), "environment": "production"},
        }
        for number in (1, 2)
    ]


def test_a_list_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_targets(tmp_path, "flights", "test", {"1": RunningServer("1", "127.0.0.1:8101", "ready")})
    write_targets(tmp_path, "flights", "test", {})
    path = targets_file(tmp_path, "flights", "test")
    assert json.loads(path.read_text(encoding="utf-8")) == []
    assert list(path.parent.iterdir()) == [path]


def test_reconciling_writes_the_list_even_when_nothing_is_to_be_done(spec: ModelSpec, tmp_path: Path) -> None:
    installation = open_installation(Settings(home=tmp_path))
    assert reconcile(installation, spec, "test") == []
    assert json.loads(targets_file(installation.settings.targets, spec.name, "test").read_text(encoding="utf-8")) == []
