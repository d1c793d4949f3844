"""Artifacts: skops files, whose hash is verified before they are loaded, with an allowlist of the types in them."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, TypedDict

import sklearn.utils

from .config import Feature, Model
from .hashes import file_hash, hash_mismatch, unreadable
from .jobs import ModelError, write_json
from .model_code import last_lines, make_importable, rename_hint

# On import, skops imports all of scikit-learn so that it can trust its estimators, which costs every start and job half
# a second. We look up only the classes that occur in a file instead (_is_trusted_by_its_base).
all_estimators, sklearn.utils.all_estimators = sklearn.utils.all_estimators, list
import skops.io  # noqa: E402

sklearn.utils.all_estimators = all_estimators

TRUSTED = (
    "builtins.object",
    "collections.OrderedDict",
    "numpy.dtype",
    "numpy.random.mtrand.RandomState",
    "numpy.random._mt19937.MT19937",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.AbsoluteError",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfGammaLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfPoissonLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.PinballLoss",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)
"""Types in scikit-learn's models, beyond estimators and skops' own defaults; none runs code when loaded."""
VALUE_CLASSES = (
    "sklearn.base.BaseEstimator",
    "sklearn._loss.loss.BaseLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process.kernels.Kernel",
    "sklearn.metrics._scorer._BaseScorer",
    "sklearn.model_selection._split.BaseCrossValidator",
    "sklearn.model_selection._split.BaseShuffleSplit",
    "sklearn.neural_network._stochastic_optimizers.BaseOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "catboost.core.CatBoostClassifier",
    "catboost.core.CatBoostRegressor",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMModel",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBModel",
)
"""These classes, and all that are derived from them within LIBRARIES, hold values and nothing else: numbers, or their
library's own format of a model."""
LIBRARIES = ("sklearn.", "catboost.core.", "lightgbm.basic.", "lightgbm.sklearn.", "xgboost.core.", "xgboost.sklearn.")
COMPUTING = ("sklearn.feature_selection._", "sklearn.metrics.")
"""Modules of scikit-learn whose functions compute a figure from arrays: scores of features and of predictions."""
STANDARD_LIBRARY = (
    "builtins.object",
    "collections.",
    "datetime.",
    "decimal.",
    "fractions.",
    "functools.partial",
    "math.",
    "uuid.UUID",
    "zoneinfo.ZoneInfo",
)
"""Name prefixes in the standard library that a spec may trust. Others could run code: skops calls the class."""


class TrainingDetails(TypedDict, total=False):
    """What ``model.json`` says of the training; nothing where a contract check saves a model."""

    code_path: str
    prediction_edges: list[float]
    libraries: dict[str, str]
    """Name → version."""


class Description(TrainingDetails):
    """The content of ``model.json``."""

    name: str
    task: str
    sha256: str
    features: list[Feature]
    feature_code: str | None
    trusted_types: list[str]


def save(fitted: Any, folder: Path, model: Model, details: TrainingDetails) -> str:
    """Write ``model.skops`` and ``model.json``; returns the hash of ``model.skops``.

    Raises ModelError when the model contains a type that neither TRUSTED nor the spec's ``trusted_types`` allows.
    """
    path = folder / "model.skops"
    try:
        skops.io.dump(fitted, path)
    except Exception as error:  # skops lets any exception through
        raise ModelError(
            f"the model can't be saved ({type(error).__name__}: {error}). Keep nothing in the fitted estimator but "
            "values, arrays and types of scikit-learn, LightGBM, XGBoost or CatBoost."
        ) from None
    used = trusted_types(path, model["trusted_types"])
    digest = file_hash(path)
    described: Description = {
        "name": model["name"],
        "task": model["task"],
        "sha256": digest,
        "features": model["features"],
        "feature_code": model["feature_code"],
        "trusted_types": [name for name in used if not _is_trusted_by_its_base(name)],
        **details,
    }
    write_json(folder / "model.json", described)
    return digest


def load(folder: Path, sha256: str, model: Model) -> Any:
    """Load the fitted model in ``folder`` if its file has this hash; otherwise nothing is loaded.

    Classes and functions of the model's own code are imported from the model's folder. All jobs and servers load
    artifacts through this function. Raises ModelError when the file is damaged, or has types that may not or can't be
    loaded.
    """
    path = folder / "model.skops"
    try:
        actual = file_hash(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if actual != sha256:
        raise hash_mismatch(path, actual, sha256)
    make_importable(model)
    trusted = trusted_types(path, model["trusted_types"])
    try:
        return skops.io.load(path, trusted=trusted)
    except Exception as error:  # skops lets any exception through, and so may the model's code
        raise ModelError(
            f"the model can't be loaded: {last_lines(error)}\nThe model's own classes and functions must be defined "
            f"at the top level of a module in the model's folder: no lambdas, and none nested in a function or class."
            f"{rename_hint(model)}"
        ) from None


def describe(folder: Path) -> Description:
    """The content of ``model.json``."""
    described: Description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return described


def trusted_types(path: Path, allowed_by_spec: list[str]) -> list[str]:
    """The types in the file that are allowed although skops does not trust them by default.

    Raises ModelError for any other type, and when the spec allows a type that must not be trusted, in the file or not.
    """
    untrusted = skops.io.get_untrusted_types(file=path)
    unknown = set(untrusted) - set(TRUSTED) - set(allowed_by_spec)
    rejected = sorted(name for name in unknown if not _is_trusted_by_its_base(name))
    harmful = sorted(name for name in {*rejected, *allowed_by_spec} if _may_run_code(name))
    if harmful:
        raise ModelError(
            f"types that are not allowed in artifacts: {', '.join(harmful)}. Listing them under trusted_types in "
            "model.yaml does not help: the standard library can run commands and read files. Define a class or "
            "function in the model's folder that does what you need, and list that."
        )
    if rejected:
        raise ModelError(
            f"the model contains types that are not allowed in artifacts: {', '.join(rejected)}. If they are yours, "
            "list them in model.yaml under trusted_types: servers then import them from the model's folder and call "
            "their code with the values of each request (a lambda can't be loaded: turn it into a function in a module "
            "of the model's folder). Otherwise use types of scikit-learn, LightGBM, XGBoost or CatBoost."
        )
    return sorted(untrusted)


def _may_run_code(name: str) -> bool:
    """Whether the type is in the standard library and not among its harmless types."""
    return name.partition(".")[0] in sys.stdlib_module_names and not name.startswith(STANDARD_LIBRARY)


def _is_trusted_by_its_base(name: str) -> bool:
    """Whether this is a class that only holds values, or a function of scikit-learn that only computes.

    skops makes instances without calling their constructor, and never calls a function when it loads one.
    """
    module, _, member = name.rpartition(".")
    if not name.startswith(LIBRARIES):
        return False
    try:
        candidate = getattr(importlib.import_module(module), member, None)
    except ImportError:
        return False
    if isinstance(candidate, type):
        return any(f"{base.__module__}.{base.__qualname__}" in VALUE_CLASSES for base in candidate.__mro__)
    defined_here = isinstance(candidate, FunctionType) and candidate.__module__ == module
    return defined_here and name.startswith(COMPUTING)
