"""Lets skl2onnx convert the estimators of LightGBM, XGBoost and CatBoost, by themselves and inside a pipeline.

skl2onnx knows scikit-learn only. For LightGBM and XGBoost, onnxmltools has converters; CatBoost writes ONNX itself.
Only the library that the model has imported is asked for, so that no other must be installed.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

CLASSES = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
"""The options that skl2onnx asks each classifier for."""


def register_converters() -> None:
    """Register what the libraries that were imported need; calling it again changes nothing. Raises ImportError."""
    for library, register in (("lightgbm", _lightgbm), ("xgboost", _xgboost), ("catboost", _catboost)):
        if library in sys.modules:
            register(sys.modules[library])


def _lightgbm(library: Any) -> None:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    _register(library.LGBMClassifier, convert_lightgbm, classifier=True)
    _register(library.LGBMRegressor, convert_lightgbm, options={"split": None})


def _xgboost(library: Any) -> None:
    for estimator in (library.XGBClassifier, library.XGBRFClassifier):
        _register(estimator, _convert_xgboost, classifier=True)
    for estimator in (library.XGBRegressor, library.XGBRFRegressor):
        _register(estimator, _convert_xgboost)


def _catboost(library: Any) -> None:
    _register(library.CatBoostClassifier, _convert_catboost, classifier=True, parser=_parse_classifier)
    _register(library.CatBoostRegressor, _convert_catboost)


def _register(estimator: type, converter: Any, *, classifier: bool = False, **more: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = calculate_linear_classifier_output_shapes if classifier else calculate_linear_regressor_output_shapes
    if classifier:
        more["options"] = CLASSES
    update_registered_converter(estimator, f"Evergreen{estimator.__name__}", shapes, converter, overwrite=True, **more)


def _convert_xgboost(scope: Any, operator: Any, container: Any) -> None:
    """onnxmltools' converter, which wants features without names."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    operator.raw_operator.get_booster().feature_names = None
    convert_xgboost(scope, operator, container)


def _convert_catboost(scope: Any, operator: Any, container: Any) -> None:
    """Take the trees from the graph that CatBoost writes; skl2onnx makes what is around them."""
    import onnx

    graph = importlib.import_module("catboost.utils").convert_to_onnx_object(operator.raw_operator).graph
    (trees,) = [node for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    container.add_node(
        trees.op_type,
        [variable.full_name for variable in operator.inputs],
        [variable.full_name for variable in operator.outputs],
        name=scope.get_unique_operator_name(trees.op_type),
        op_domain=trees.domain,
        op_version=1,
        **{each.name: onnx.helper.get_attribute_value(each) for each in trees.attribute},
    )


def _parse_classifier(scope: Any, model: Any, inputs: list[Any], **_: Any) -> list[Any]:
    """The outputs of a classifier that does not inherit from scikit-learn's."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    operator = scope.declare_local_operator(f"Evergreen{type(model).__name__}", model)
    for variable in inputs:
        operator.inputs.append(variable)
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
    return list(operator.outputs)
