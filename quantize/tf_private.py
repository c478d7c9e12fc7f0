"""The only module that touches what TensorFlow, Keras and tensorflow-model-optimization keep private. Importing it imports none.

`NAMES` lists all of it. There is no public way to any: the versions are pinned in ``pyproject.toml`` for their sake, and a test asks
for each name, so that another TensorFlow that lacks one says which.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Any

from edge.errors import MissingExtraError

from .quiet import import_keras, import_tensorflow, import_tf_keras

NAMES = MappingProxyType(
    {
        # Calibrate once, quantize many: the steps of TFLiteConverter.
        "mlir_quantize": "tensorflow.lite.python.convert:mlir_quantize",
        "deduplicate_readonly_buffers": "tensorflow.lite.python.convert:deduplicate_readonly_buffers",
        "Calibrator": "tensorflow.lite.python.optimize.calibrator:Calibrator",
        "add_intermediate_tensors": "tensorflow.lite.python.optimize.calibrator:add_intermediate_tensors",
        "QuantizeModel": "tensorflow.lite.python.optimize._pywrap_tensorflow_lite_calibration_wrapper:CalibrationWrapper.QuantizeModel",
        # The flatbuffer's classes, to edit converted files.
        "schema": "tensorflow.lite.python.schema_py_generated:",
        # Protocol buffers of SavedModels and graphs; every op that is installed.
        "saved_model_pb2": "tensorflow.core.protobuf.saved_model_pb2:",
        "meta_graph_pb2": "tensorflow.core.protobuf.meta_graph_pb2:",
        "graph_pb2": "tensorflow.core.framework.graph_pb2:",
        "op_def_pb2": "tensorflow.core.framework.op_def_pb2:",
        "TF_GetBuffer": "tensorflow.python.client.pywrap_tf_session:TF_GetBuffer",
        "TF_GetAllOpList": "tensorflow.python.client.pywrap_tf_session:TF_GetAllOpList",
        # A network without the calls in it, so that a tensor in its middle can be asked for.
        "convert_variables_to_constants_v2": "tensorflow.python.framework.convert_to_constants:convert_variables_to_constants_v2",
        # A function with the mark by which the converter knows an LSTM.
        "function": "tensorflow.python.eager.polymorphic_function.polymorphic_function:function",
        "CustomScaleLayer": "keras.src.applications.inception_resnet_v2:CustomScaleLayer",
        # The points at which tensorflow-model-optimization lets a scheme in, and its pruning mask.
        "quantize_layout_transform": "tensorflow_model_optimization.python.core.quantization.keras.quantize_layout_transform:",
        "quantize_registry": "tensorflow_model_optimization.python.core.quantization.keras.quantize_registry:",
        "quantize_scheme": "tensorflow_model_optimization.python.core.quantization.keras.quantize_scheme:",
        "_update_mask": "tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl:Pruning._update_mask",
        "Pruning": "tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl:Pruning",
    }
)
"""Short name: ``module:attribute``, or ``module:`` for the module itself."""

ATTRIBUTES = ("_experimental_disable_per_channel_quantization_for_dense_layers", "_nodes_by_depth", "_name")
"""What only objects have: a TFLiteConverter, a functional Keras model (``_functional`` where there is one), a tf_keras layer."""


def get(name: str) -> Any:
    """Return what ``name`` of `NAMES` stands for. Raises MissingExtraError naming it if the installed version lacks it."""
    module, _, attributes = NAMES[name].partition(":")
    package = module.partition(".")[0]
    {"tensorflow": import_tensorflow, "keras": import_keras}.get(package, import_tf_keras)()
    try:
        found = importlib.import_module(module)
        for attribute in filter(None, attributes.split(".")):
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        raise _missing(package, NAMES[name]) from error
    return found


def per_channel_dense(converter: Any, wanted: bool) -> None:
    """Say whether a TFLiteConverter gives fully connected layers a scale for each output channel."""
    name = "_experimental_disable_per_channel_quantization_for_dense_layers"
    if not hasattr(converter, name):
        raise _missing("tensorflow", f"TFLiteConverter.{name}")
    setattr(converter, name, not wanted)


def quantize_wrapper(calibrated: bytes) -> Any:
    """Return the C++ object that quantizes ``calibrated`` (``QuantizeModel``); fed with nothing, it keeps the ranges that are there."""
    return get("Calibrator")(calibrated)._calibrator


def inlined(concrete: Any) -> Any:
    """Return a concrete function with all that it calls written out in one graph, its variables as constants."""
    convert = get("convert_variables_to_constants_v2")
    return convert(concrete, lower_control_flow=False, aggressive_inlining=True)


def nodes_by_depth(model: Any) -> dict[int, list[Any]]:
    """Return the calls of a functional Keras 3 or tf_keras model by their depth (0: the outputs)."""
    graph = getattr(model, "_functional", None) or model
    by_depth: dict[int, list[Any]] = graph._nodes_by_depth
    return by_depth


def rename(layer: Any, name: str) -> None:
    """Give a tf_keras layer that was never called another name."""
    if not hasattr(layer, "_name"):
        raise _missing("tf_keras", "Layer._name")
    layer._name = name


def pruning_mask(pruning: Any, kernel: Any) -> Any:
    """Return the mask that a ``Pruning`` would lay over ``kernel`` now."""
    return pruning._update_mask(kernel)[1]


def _missing(package: str, name: str) -> MissingExtraError:
    version = getattr(importlib.import_module(package), "__version__", "of unknown version")
    return MissingExtraError(
        f"{package} {version} has no {name}, which is private to it and which edgekit uses: pip install 'edgekit[quantize]' for the"
        " version that has it"
    )
