"""Artifacts: skops files, held against their hash before they are loaded, with a list of types that may be in them."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sklearn.utils
from sklearn.base import BaseEstimator

from .jobs import ModelError, write_json
from .model_code import last_lines, make_importable, rename_hint

# To trust all of scikit-learn's estimators, skops imports all of scikit-learn when it is imported itself: half a second
# of every start and job. Those estimators that are in a file are looked up one by one instead (_is_estimator).
all_estimators, sklearn.utils.all_estimators = sklearn.utils.all_estimators, list
import skops.io  # noqa: E402

sklearn.utils.all_estimators = all_estimators

TRUSTED = (
    "numpy.dtype",
    "numpy.random.mtrand.RandomState",
    "numpy.random._mt19937.MT19937",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
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
"""Types beyond estimators and skops' own defaults that scikit-learn's models consist of; none runs code on loading."""
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
"""What a spec may trust of Python's own modules, by how the name begins. Others can run code: skops calls the class."""


def save(fitted: Any, folder: Path, model: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    """Write ``model.skops`` and ``model.json``; returns the hash of the former.

    Raises ModelError when the model contains a type that neither this list nor the spec's ``trusted_types`` allows.
    """
    path = folder / "model.skops"
    try:
        skops.io.dump(fitted, path)
    except Exception as error:  # skops raises what it meets
        raise ModelError(
            f"the model can't be saved ({type(error).__name__}: {error}). Keep nothing in the fitted estimator but "
            "values, arrays and scikit-learn's own types."
        ) from None
    used = trusted_types(path, model["trusted_types"])
    digest = file_hash(path)
    described = {
        "name": model["name"],
        "task": model["task"],
        "sha256": digest,
        "features": model["features"],
        "feature_code": model["feature_code"],
        "trusted_types": [name for name in used if not _is_estimator(name)],
        **more,
    }
    write_json(folder / "model.json", described)
    return digest


def load(folder: Path, sha256: str, model: Mapping[str, Any]) -> Any:
    """The fitted model in ``folder``, if its file is the one that has this hash; nothing is loaded otherwise.

    Its classes and functions may be the model's own: they are imported from the model's folder. Every job and server
    loads artifacts here. Raises ModelError when it is damaged, or has types that may not or can't be loaded.
    """
    path = folder / "model.skops"
    try:
        found = file_hash(path)
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}). Deploy the version again.") from None
    if found != sha256:
        raise ModelError(
            f"{path} has sha256 {found}, recorded was {sha256}. It was changed or damaged and is not loaded. "
            "Delete the folder to fetch it again, or deploy another version."
        )
    make_importable(model)
    trusted = trusted_types(path, model["trusted_types"])
    try:
        return skops.io.load(path, trusted=trusted)
    except Exception as error:  # skops raises what it meets, and so may the model's code
        raise ModelError(
            f"the model can't be loaded: {last_lines(error)}\nA class or function of the model's own must have a name "
            f"at the top level of a module in the model's folder: no lambda, and none inside a function or class."
            f"{rename_hint(model)}"
        ) from None


def describe(folder: Path) -> dict[str, Any]:
    """What ``model.json`` says."""
    return dict(json.loads((folder / "model.json").read_text(encoding="utf-8")))


def trusted_types(path: Path, allowed_by_spec: list[str]) -> list[str]:
    """The types in the file that skops does not trust by itself and that are allowed; ModelError for any other.

    Also a ModelError when the spec allows what may not be trusted, whether or not it is in the file.
    """
    found = skops.io.get_untrusted_types(file=path)
    unknown = set(found) - set(TRUSTED) - set(allowed_by_spec)
    strange = sorted(name for name in unknown if not _is_estimator(name))
    harmful = sorted(name for name in {*strange, *allowed_by_spec} if _may_run_code(name))
    if harmful:
        raise ModelError(
            f"types that are not allowed in artifacts: {', '.join(harmful)}. Listing them under trusted_types in "
            "model.yaml does not help: Python's own modules may run commands or read files. Define a class or function "
            "in the model's folder that does what is needed, and list that."
        )
    if strange:
        raise ModelError(
            f"the model contains types that are not allowed in artifacts: {', '.join(strange)}. If they are yours and "
            "safe to load, list them in model.yaml under trusted_types (a lambda can't be loaded: make it a function "
            "in a module of the model's folder); else use scikit-learn's own."
        )
    return sorted(found)


def _may_run_code(name: str) -> bool:
    """Whether it is of Python's own modules, and not among those parts of them that are harmless."""
    return name.partition(".")[0] in sys.stdlib_module_names and not name.startswith(STANDARD_LIBRARY)


def _is_estimator(name: str) -> bool:
    """Whether it is the full name of one of scikit-learn's own estimators."""
    module, _, class_name = name.rpartition(".")
    if not module.startswith("sklearn."):
        return False
    try:
        found = getattr(importlib.import_module(module), class_name, None)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, BaseEstimator)


def file_hash(path: Path) -> str:
    """sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
