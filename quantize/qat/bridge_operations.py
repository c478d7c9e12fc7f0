"""What the bridge knows of operations that a Keras model computes without a layer: ``x / 127.5 - 1``, ``keras.ops.softmax``.

Keras 3 records them as operations (``keras.src.ops``), tf_keras as ``TFOpLambda`` with the name of a TensorFlow function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tf_private
from ..errors import BridgeError

# What an operation is called here, by the function that tf_keras records.
_FUNCTIONS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "Divide",
    "math.divide": "Divide",
    "math.negative": "Negative",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
    "nn.softmax": "Softmax",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
    "nn.elu": "Elu",
    "math.softplus": "Softplus",
    "cast": "Cast",
}
_SAME = {"TrueDivide": "Divide"}
_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Relu6": "relu6",
    "Silu": "swish",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Elu": "elu",
    "Softplus": "softplus",
}
_MERGES = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})
_ARITHMETIC = frozenset({"Add", "Subtract", "Multiply", "Divide"})
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Call:
    """One call in a Keras model: the layer or operation, the tensors it reads and makes, and its arguments as they were given."""

    layer: Any
    sources: Sequence[Any]
    results: Sequence[Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def keeps_shape(self) -> bool:
        return tuple(self.sources[0].shape) == tuple(self.results[0].shape)

    def argument(self, name: str, default: Any) -> Any:
        """Return a setting of the call: tf_keras keeps it in the call, Keras 3 in the operation."""
        return self.kwargs.get(name, getattr(self.layer, name, default))

    def operands(self) -> list[Any]:
        """Return what is computed with, tensors and numbers, in their order."""
        given = [*self.args, *(self.kwargs[key] for key in ("x", "y", "x1", "x2") if key in self.kwargs)]
        return given[:2]


def calls(model: Any) -> Iterator[Call]:
    """Yield every call in a Keras 3 or tf_keras model, in the order of computation."""
    by_depth = tf_private.nodes_by_depth(model)
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            keras_3 = hasattr(node, "operation")
            yield Call(
                layer=node.operation if keras_3 else node.layer,
                sources=listed(node.input_tensors if keras_3 else node.keras_inputs),
                results=listed(node.outputs),
                args=node.arguments.args if keras_3 else node.call_args or (),
                kwargs=node.arguments.kwargs if keras_3 else node.call_kwargs or {},
            )


def is_operation(layer: Any) -> bool:
    """Whether ``layer`` is an operation without a layer of its own."""
    return not hasattr(layer, "get_weights") or type(layer).__name__ == "TFOpLambda"


def kind_of(operation: Any) -> str:
    """Return the name of an operation in Keras 3, whichever Keras recorded it."""
    if type(operation).__name__ != "TFOpLambda":
        return _SAME.get(type(operation).__name__, type(operation).__name__)
    function = str(operation.get_config().get("function"))
    return _FUNCTIONS.get(function, function)


def known(operation: Any) -> bool:
    """Whether the bridge knows this operation."""
    kind = kind_of(operation)
    return kind in _MERGES or kind in _ARITHMETIC or kind in _ACTIVATIONS or kind in ("Softmax", "Negative", "Cast")


def make(layers: Any, own: Any, call: Call, named_activation: Callable[..., Any]) -> list[Any]:
    """Return the tf_keras layers that compute what the operation ``call`` does. layers, own: those of tf_keras, and `quantize.qat.layers`.

    Raises BridgeError where TFLite or the bridge has no layer for it.
    """
    kind, name = kind_of(call.layer), str(call.layer.name)
    if kind == "Cast":
        return _cast(call)
    if kind == "Softmax":
        return [layers.Softmax(axis=call.argument("axis", -1), name=name)]
    if kind == "Negative":
        return [own.Arithmetic("multiply", -1.0, name=name)]
    if kind in _ACTIVATIONS:
        return [named_activation(layers, own, _ACTIVATIONS[kind], name, keras_3=True)]
    if len(call.sources) == 2 and kind in _MERGES:
        return [getattr(layers, kind)(name=name)]
    if len(call.sources) != 1 or kind not in _ARITHMETIC:
        raise BridgeError(f"operation {name!r}: {kind} of {_described(call)} has no int8 form that the bridge knows")
    first, second = call.operands()
    swapped = second is call.sources[0]
    if kind == "Divide" and swapped:
        raise BridgeError(f"operation {name!r}: division by the picture has no int8 form in TFLite")
    number = np.asarray(first if swapped else second, np.float32)
    return [own.Arithmetic(kind.lower(), number, swapped and kind == "Subtract", name=name)]


def _cast(call: Call) -> list[Any]:
    """A cast between float types, or from the input's whole numbers, changes nothing in float32."""
    wanted = call.argument("dtype", None)
    wanted = getattr(wanted, "name", wanted)
    if wanted is None and len(call.args) > 1:
        wanted = getattr(call.args[1], "name", call.args[1])
    if wanted not in _FLOATS:
        raise BridgeError(f"operation {call.layer.name!r}: a cast to {wanted} cannot be trained through; expected one to float32")
    return []


def _described(call: Call) -> str:
    return f"{len(call.sources)} tensors" if len(call.sources) != 1 else "a tensor and a number"


def listed(value: Any) -> list[Any]:
    """Return ``value`` as a list: itself, or what it holds."""
    return list(value) if isinstance(value, list | tuple) else [value]
