"""What is kept with a version lets its quality be estimated later, without any row of the data."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from include.core.build import Lineage
from include.core.quality.estimation import estimate
from include.core.spec import ModelSpec
from include.stages import presentation
from include.stages.training import BUNDLE, complete_bundle

REPORT = {
    "rows": 2000,
    "holdout_rows": 200,
    "seconds": {"fit": 0.1},
    "trained_until": "2013-03-02T00:00:00",
    "sha256": "0" * 64,
}


def test_the_bundle_has_what_estimates_need_and_no_row_of_the_holdout(spec: ModelSpec, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({feature.name: random.random(2000) for feature in spec.features})
    rows = rows.assign(carrier="UA", origin="EWR", destination="LAX", prediction=random.random(2000))
    rows["late"] = random.random(2000) < rows.prediction
    rows[spec.data.event_time] = pd.Timestamp("2013-03-01")
    rows[spec.data.key] = [f"flight-{number}" for number in range(2000)]
    for name in ("holdout", "march"):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "training.json").write_text(json.dumps(REPORT))
    made = {"profile.json", "estimator.json", "golden.json", "lineage.json", *presentation.FILES}
    for name in set(BUNDLE) - made:
        (tmp_path / name).write_text("{}")
    snapshot: Any = SimpleNamespace(paths=[str(tmp_path / "march.parquet")])

    bundle = complete_bundle(spec, tmp_path, snapshot, Lineage(build="b"))

    kept = json.loads((bundle / "estimator.json").read_text())
    assert {path.name for path in bundle.iterdir()} == {*BUNDLE, presentation.PICTURES}
    assert sum(kept["counts"]) == kept["rows"] == 2000
    assert max(map(len, (kept["scores"], kept["counts"], kept["positives"]))) <= 100, "at least 20 rows to a bin"
    assert estimate(kept, rows, spec)["roc_auc"].value > 0.75
