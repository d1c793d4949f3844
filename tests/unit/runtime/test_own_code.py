"""A model's own classes and functions: what servers and jobs can load passes the contract, and all else fails there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from include.runtime import check, score, train
from include.runtime.config import Model
from include.runtime.hashes import file_hash
from include.runtime.jobs import ModelError
from tests.support.small_model import check_job, model_block, score_job, train_job

pytestmark = pytest.mark.integration

HALVE = """
from sklearn.base import BaseEstimator, TransformerMixin


class Halve(BaseEstimator, TransformerMixin):
    def fit(self, frame, target=None):
        self.half_ = 2
        return self

    def transform(self, frame):
        return frame / self.half_
"""
PACKAGE = {
    "PACKAGE/__init__.py": "",
    "PACKAGE/factor.json": "[0.5]",
    "PACKAGE/clean.py": HALVE.replace("frame / self.half_", "frame * FACTOR")
    + "\n\nimport json\nfrom pathlib import Path\n"
    + "FACTOR = json.loads((Path(__file__).parent / 'factor.json').read_text())[0]\n",
}
PIPELINE = """
from sklearn.preprocessing import FunctionTransformer


def with_own(own, last):
    numbers = (make_pipeline(SimpleImputer(), own), ["distance", "night"])
    return make_pipeline(make_column_transformer(numbers), last)


def halved(frame):
    return frame / 2
"""
CLASS = PIPELINE + HALVE + "\n\ndef own(): return with_own(Halve(), LinearRegression())\n"
REGRESSION = {"task": "regression", "target": "delay", "estimator": "own"}
CLASSES = {"estimator": "own"}
Case = tuple[str, dict[str, Any], dict[str, str]]
LOADED: dict[str, Case] = {
    "class in the module": (CLASS, REGRESSION | {"trusted_types": ["MODULE.Halve"]}, {}),
    "class in a package that reads a file": (
        PIPELINE + "\nfrom PACKAGE.clean import Halve\ndef own(): return with_own(Halve(), LogisticRegression())\n",
        CLASSES | {"trusted_types": ["PACKAGE.clean.Halve"]},
        PACKAGE,
    ),
    "function": (
        PIPELINE + "\ndef own(): return with_own(FunctionTransformer(halved), LogisticRegression())\n",
        CLASSES | {"trusted_types": ["MODULE.halved"]},
        {},
    ),
}
LOCAL = f"""
def make():
{"".join(f"    {line}" + chr(10) for line in HALVE.splitlines())}
    return Halve()


def own(): return with_own(make(), LinearRegression())
"""
NEVER_LOADED: dict[str, tuple[str, list[str], dict[str, str], str]] = {
    "not listed": (
        CLASS,
        [],
        {},
        r"not allowed in artifacts: \w+.Halve. .*list them in model.yaml",
    ),
    "class inside a function": (
        PIPELINE + LOCAL,
        ["MODULE.Halve"],
        {},
        "has no attribute 'Halve'.*\nThe model's own",
    ),
    "lambda": (
        PIPELINE + "\ndef own(): return with_own(FunctionTransformer(lambda x: x / 2), LinearRegression())\n",
        ["MODULE.<lambda>"],
        {},
        "no lambdas, and none nested in a function",
    ),
    "made in __main__": (
        CLASS + "\nHalve.__module__ = '__main__'\n",
        ["__main__.Halve"],
        {},
        "has no attribute 'Halve'.*\nThe model's own",
    ),
    "function of the operating system": (
        CLASS.replace("return self", "self.where = os.getcwd; return self") + "\nimport os\n",
        ["MODULE.Halve", "posix.getcwd"],
        {},
        "not allowed in artifacts: posix.getcwd. Listing them under trusted_types in model.yaml does not help",
    ),
    "module with a library's name": (
        CLASS + "\nfrom json import clean\n",
        ["MODULE.Halve"],
        {"json.py": "def clean(): pass\n"},
        r"cannot import name 'clean' from 'json'[\s\S]*Rename these, because other modules have the same names: "
        r"'json' \(.*json",
    ),
    "package with a library's name": (
        CLASS + "\nimport sklearn.own\n",
        ["MODULE.Halve"],
        {"sklearn/own.py": ""},
        r"module 'sklearn.own' was not found.*Rename these, because other modules have the same names: "
        r"'sklearn' \(.*sklearn",
    ),
    "module that is silently another": (
        CLASS + "\nimport statistics\nstatistics.mean([1])\n",
        ["MODULE.Halve"],
        {"statistics.py": "def mean(values): return 7\n"},
        r"the model's code can't import 'statistics' \(.*statistics.py\): another module has the same name. Rename it",
    ),
}


def own_model(tmp_path: Path, code: str, changes: dict[str, Any], files: dict[str, str]) -> Model:
    """A model of this code, with these files beside it; PACKAGE gets a name that no other test imports."""
    package = f"package_{tmp_path.name.replace('-', '_')}"
    for name, content in files.items():
        path = tmp_path / "code" / name.replace("PACKAGE", package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    model = model_block(tmp_path / "code", code.replace("PACKAGE", package), **changes)
    return {**model, "trusted_types": [name.replace("PACKAGE", package) for name in model["trusted_types"]]}


def contract(tmp_path: Path, model: Model) -> tuple[str, str]:
    check.main(check_job(tmp_path, model))
    found = json.loads((tmp_path / "contract.json").read_text(encoding="utf-8"))
    return found["answer"], found["reason"]


def forget(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing of the model is imported, and its folder is not on the path."""
    for name in [name for name, module in sys.modules.items() if model["code"] in str(getattr(module, "__file__", ""))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != model["code"]])


@pytest.mark.parametrize("case", LOADED.values(), ids=LOADED)
def test_an_own_type_that_is_listed_is_loaded_where_nothing_of_the_model_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Any
) -> None:
    model = own_model(tmp_path, *case)
    assert contract(tmp_path, model)[0] == "pass", contract(tmp_path, model)
    train.main(train_job(tmp_path, model))
    sha256 = file_hash(tmp_path / "candidate" / "model.skops")
    forget(model, monkeypatch)
    score.main(score_job(tmp_path, model, sha256))
    scored = pd.read_parquet(tmp_path / "scores" / "scored.parquet").set_index("id")
    holdout = pd.read_parquet(tmp_path / "candidate" / "holdout.parquet").set_index("id")
    np.testing.assert_allclose(scored["prediction"], holdout.loc[scored.index, "prediction"])


@pytest.mark.parametrize("code, trusted, files, told", NEVER_LOADED.values(), ids=NEVER_LOADED)
def test_what_no_server_could_load_breaks_the_contract_with_the_remedy(
    tmp_path: Path, code: Any, trusted: Any, files: Any, told: Any
) -> None:
    answer, reason = contract(tmp_path, own_model(tmp_path, code, REGRESSION | {"trusted_types": trusted}, files))
    assert (answer, bool(re.search(told, reason))) == ("fail", True), reason


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "subprocess.Popen", "operator.methodcaller", "_io.open", "pickle.loads"]
)
def test_what_can_run_code_may_not_even_be_listed(tmp_path: Path, name: str) -> None:
    model = own_model(tmp_path, CLASS, REGRESSION | {"trusted_types": ["MODULE.Halve", name]}, {})
    with pytest.raises(ModelError, match=f"not allowed in artifacts: {name}. Listing them under trusted_types"):
        train.main(train_job(tmp_path, model))
