"""Look through a Keras model's configuration before any loader sees it: no code, nothing that reaches outside the model.

The loaders are not asked to be careful: ``tf_keras.models.load_model`` runs the bytecode of a Lambda layer from ``.h5`` in spite
of its safe mode. A configuration passes only when every object in it is a public built-in class of Keras, or one that the
caller's own process has registered; what is refused is named by layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import LoadError, UnsafeModelError
from .keras_config import (
    MODEL_CLASSES,
    is_bare_operation,
    is_convnext_layer,
    is_known_operation,
    is_residual_scale,
    is_residual_scale_layer,
    objects,
)

# Data, not classes: shapes, constants and references inside a Keras 3 configuration.
_DATA = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__", "TensorShape"}
)
_CODE = frozenset({"Lambda", "__lambda__"})
_REACHES_OUT = {
    "TFSMLayer": "loads another SavedModel from a path of its own",
    "TorchModuleWrapper": "holds a pickled PyTorch module",
    "JaxLayer": "holds code of another framework",
    "FlaxLayer": "holds code of another framework",
    "TensorFlowOpLayer": "holds a raw TensorFlow graph node",
    "__typespec__": "is a raw TensorFlow type",
}
_LOOKUP = {
    "StringLookup": "strings",
    "IntegerLookup": "a lookup table",
    "TextVectorization": "strings",
    "Hashing": "hashing",
    "HashedCrossing": "hashing",
    "FeatureSpace": "lookup tables",
    "CategoryEncoding": "category encoding",
}
# Layers of Keras 2 that Keras 3 has not.
_GONE = frozenset({"ThresholdedReLU", "LocallyConnected1D", "LocallyConnected2D", "RandomHeight", "RandomWidth", "DenseFeatures"})
_OPERATION_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"})
# Sub-packages whose public classes a model is made of. Losses, metrics and optimizers are dropped with compile_config.
_KERAS_MODULE = re.compile(
    r"(?:tf_)?keras(?:\.src)?(?:\.(?:layers|models|initializers|regularizers|constraints|activations|dtype_policies|mixed_precision"
    r"|ops|engine|quantizers|applications\.inception_resnet_v2)(?:\.[A-Za-z0-9_]+)*)?"
)
_FUNCTION_MODULE = re.compile(r"(?:tf_)?keras(?:\.src)?\.(?:activations|ops)(?:\.[A-Za-z0-9_]+)*")
_OTHER_CLASSES = MODEL_CLASSES | {"DTypePolicy", "Policy", "BatchNormalizationV1", "BatchNormalizationV2", "SeedGenerator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the installed Keras has: ``classes`` are its public ones, ``activation`` says whether a name is one of its
    activations, ``registered`` whether the caller's process registered a custom class of that name.
    """

    classes: frozenset[str]
    activation: Callable[[str], bool]
    registered: Callable[[str], bool]


def scan_config(
    config: Any, *, where: str, known: Known, allow_code: bool = False, residual_lambdas: bool = True
) -> tuple[str, ...]:
    """Check a parsed Keras model configuration (plain JSON values) and return notes on what was recognised.

    allow_code: let Lambda layers pass. residual_lambdas: let those pass that ``keras_rewrite.prepare`` replaces; afterwards none
    may be left, so the second scan, of what Keras gets to see, says False.

    Raises UnsafeModelError for code and for layers that reach outside the model, LoadError for layers that nobody here knows.
    """
    notes: list[str] = []
    scaled = 0
    for node, owner in objects(config, where=where):
        name = str(node["class_name"])
        if name in _DATA:
            continue
        if residual_lambdas and is_residual_scale(node):
            scaled += 1
            continue
        if name in _CODE:
            if not allow_code:
                raise UnsafeModelError(
                    f"{where}: layer {owner!r} is a Lambda: it holds Python code that would run here;"
                    " rebuild it with built-in layers, or allow it with --allow-code (allow_code=True) if you trust the file"
                )
            notes.append(f"layer {owner!r} is a Lambda: its code was run, as allowed")
            continue
        _check_class(node, name, owner, where=where, known=known)
        _check_activation(node, owner, where=where, known=known)
    if scaled:
        notes.append(
            f"{scaled} Lambda layers are the residual scaling of an older Keras InceptionResNetV2; rebuilt from their scale,"
            " their code was not run"
        )
    return tuple(notes)


def _check_class(node: Mapping[str, Any], name: str, owner: str, *, where: str, known: Known) -> None:
    if name in _REACHES_OUT:
        raise UnsafeModelError(f"{where}: layer {owner!r} is a {name}: it {_REACHES_OUT[name]}; rebuild it with built-in layers")
    if name in _LOOKUP:
        raise LoadError(
            f"{where}: layer {owner!r} is a {name}: {_LOOKUP[name]} cannot run as built-in TFLite ops; move it out of the model"
        )
    if name in _GONE and name not in known.classes and not node.get("registered_name"):
        raise LoadError(
            f"{where}: layer {owner!r} is a {name} of Keras 2, which Keras 3 does not have; open it with tf_keras and export it as a"
            " SavedModel: model.export(DIR)"
        )
    if name.endswith("QuantizationConfig"):
        raise LoadError(
            f"{where}: layer {owner!r} was quantized by Keras already; edgekit quantizes the float network: give the file that was"
            " saved before model.quantize(...)"
        )
    if is_residual_scale_layer(node) or is_bare_operation(node) or is_convnext_layer(node):
        return
    if name in _OPERATION_LAYERS:
        if not is_known_operation(node):
            what = node.get("config", {}).get("function", name) if isinstance(node.get("config"), dict) else name
            raise LoadError(
                f"{where}: layer {owner!r} calls {what!r}, which is not plain arithmetic; rebuild it with Keras layers"
            )
        return
    registered = node.get("registered_name")
    if isinstance(registered, str) and known.registered(registered):
        return
    module = node.get("module")
    if not (module in (None, "builtins") or (isinstance(module, str) and _KERAS_MODULE.fullmatch(module))):
        passes = False
    elif name == "function":
        function = node.get("config")
        plain = isinstance(function, str) and function.isidentifier()
        passes = plain and (module in (None, "builtins") or _FUNCTION_MODULE.fullmatch(module) is not None)
    elif module is not None and ".ops." in module:
        passes = name.isidentifier()  # operations on tensors: arithmetic only, each in a module of its own kind
    else:
        passes = name in _OTHER_CLASSES or name in known.classes
    if not passes:
        origin = f" of {module}" if module else ""
        raise LoadError(
            f"{where}: layer {owner!r} is of the custom class {str(registered or name)!r}{origin}, which edgekit does not know;"
            " rebuild it with built-in layers, or register the class in Python and call quantize.load there"
        )


def _check_activation(node: Mapping[str, Any], owner: str, *, where: str, known: Known) -> None:
    inner = node.get("config")
    for key in ("activation", "recurrent_activation"):
        name = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(name, str) and not known.activation(name) and not known.registered(name):
            raise LoadError(
                f"{where}: layer {owner!r} has the custom activation {name!r}, which edgekit does not know;"
                " register it in Python and call quantize.load there"
            )
