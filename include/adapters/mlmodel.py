"""The file ``MLmodel``: lets MLflow show a version's schema, and load it with ``mlflow.pyfunc.load_model``."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.adapters.files import write_atomically
from include.adapters.untrusted_files import read_json_object
from include.core.spec import FeatureType, ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

LOADER = "include.mlflow_model"
"""The module that loads a version: the project's own, so that nothing in the artifact store is run."""
EXAMPLE, REQUIREMENTS = "input_example.json", "requirements.txt"
VERSION = re.compile(r"[0-9][A-Za-z0-9.+!_-]{0,40}")
LIBRARIES = ("scikit-learn", "pandas", "numpy", "skops", "pyarrow")
"""What the runtime reports the versions of; other names in a model.json are not taken."""


def write_mlmodel(
    folder: Path, spec: ModelSpec, rows: pd.DataFrame, examples: Sequence[Mapping[Any, Any]], digest: str
) -> None:
    """Write ``MLmodel``, the first of the examples, and the libraries that the model was trained with.

    ``rows`` are training data, which have the columns' types; ``digest`` is that of the artifact. The same model always
    gives the same files, so that registering it can be done again after a crash.
    """
    from mlflow import __version__
    from mlflow.models import Model

    created = datetime.fromtimestamp((folder / "model.skops").stat().st_mtime, UTC).replace(tzinfo=None)
    model = Model(
        signature=signature(spec, rows),
        utc_time_created=created,
        model_uuid=digest[:32],
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
        metadata={"load": f"with Evergreen's project folder on PYTHONPATH, which has {LOADER}; see card.md"},
    )
    model.add_flavor("python_function", loader_module=LOADER, python_version=platform.python_version())
    model.save(str(folder / "MLmodel"))
    names = spec.feature_names
    data = [[row.get(name) for name in names] for row in examples[:1]]
    write_atomically(folder / EXAMPLE, json.dumps({"columns": names, "data": data}, indent=1, default=_plain).encode())
    pinned = [f"{name}=={version}" for name, version in libraries(folder / "model.json").items()]
    write_atomically(folder / REQUIREMENTS, "\n".join([f"mlflow=={__version__}", *pinned, ""]).encode())


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def signature(spec: ModelSpec, rows: pd.DataFrame) -> ModelSignature:
    """The inputs with the types that they have in the data; those that may lack values may be missing.

    MLflow refuses integers where it expects floats, and floats where it expects integers.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(column_type(feature.type, rows[feature.name]), feature.name, required=feature.missing_at_most == 0)
        for feature in spec.features
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec("double")]))


def column_type(kind: FeatureType, values: pd.Series) -> str:
    """MLflow's type for a column of the data."""
    from pandas.api import types

    if types.is_bool_dtype(values.dtype):
        return "boolean"
    if types.is_integer_dtype(values.dtype):
        return "long"
    if types.is_float_dtype(values.dtype):
        return "double"
    return {"category": "string", "boolean": "boolean"}.get(kind, "double")


def libraries(description: Path) -> dict[str, str]:
    """Library → version from a ``model.json``, which the model's code may have written."""
    said = read_json_object(description).get("libraries")
    known = said if isinstance(said, dict) else {}
    return {
        name: known[name]
        for name in LIBRARIES
        if isinstance(known.get(name), str) and VERSION.fullmatch(known[name]) is not None
    }
