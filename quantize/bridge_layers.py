"""What the bridge knows: for each Keras layer, the tf_keras layers that compute the same, and their weights.

A record per layer class says which settings carry over. Activations other than ReLU become layers of their own, and a separable
convolution becomes its two halves: TFLite has a tensor between them, which needs a range.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import BridgeError

_PADDING = ("padding", "data_format")
_WINDOW = ("pool_size", "strides", *_PADDING)
_CONV = ("kernel_size", "strides", *_PADDING, "dilation_rate", "use_bias")
RELU = ("relu", "relu6")  # fused into the op before them by TFLite
LINEAR = ("linear", None)

# Keras class -> the settings that both Keras 3 and tf_keras know by the same name and meaning.
SETTINGS: Mapping[str, Sequence[str]] = {
    "Conv2D": ("filters", *_CONV, "groups"),
    "DepthwiseConv2D": ("depth_multiplier", *_CONV),
    "Conv2DTranspose": ("filters", *_CONV, "output_padding"),
    "Dense": ("units", "use_bias"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Softmax": ("axis",),
    "Add": (),
    "Subtract": (),
    "Multiply": (),
    "Average": (),
    "Maximum": (),
    "Minimum": (),
    "Concatenate": ("axis",),
    "MaxPooling2D": _WINDOW,
    "AveragePooling2D": _WINDOW,
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GlobalMaxPooling2D": ("data_format", "keepdims"),
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Permute": ("dims",),
    "Rescaling": ("scale", "offset"),
    "Dropout": ("rate", "noise_shape", "seed"),
    "SpatialDropout2D": ("rate",),
    "GaussianNoise": ("stddev",),
    "GaussianDropout": ("rate",),
}
WEIGHTED = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D", "Dense", "BatchNormalization"})
# These make something else than the record above says, or nothing at all.
SPECIAL = frozenset({"SeparableConv2D", "Activation", "ReLU", "LeakyReLU", "CustomScaleLayer", "InputLayer", "Identity"})
_ACTIVATED = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D", "Dense"})
_ACTIVATIONS = frozenset(
    {*RELU, "softmax", "sigmoid", "tanh", "hard_sigmoid", "swish", "silu", "gelu", "elu", "exponential", "softplus"}
)

# tf_keras records arithmetic between tensors under these names.
_OPERATORS = {
    "tf.__operators__.add": "Add",
    "tf.math.add": "Add",
    "tf.math.subtract": "Subtract",
    "tf.math.multiply": "Multiply",
}
_MERGES = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A tf_keras layer and the weights that it gets (None: it has none)."""

    layer: Any
    weights: Sequence[np.ndarray] | None = None


def kind_of(layer: Any) -> str:
    """Return the class name of a layer; for an operator between two tensors (``x + y``) that of the layer which does the same."""
    if type(layer).__name__ == "TFOpLambda":
        return _OPERATORS.get(re.sub(r"_\d+$", "", layer.name), "TFOpLambda")
    return type(layer).__name__


def known(layer: Any) -> bool:
    """Whether the bridge knows this layer's class."""
    kind = kind_of(layer)
    return kind in SETTINGS or kind in SPECIAL


def activation_name(layer: Any) -> str:
    """Return the name of a layer's activation function, ``linear`` where it has none."""
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", None) or getattr(activation, "name", None) or "linear"
    return "swish" if name == "silu" else str(name)


def make(tf_keras: Any, batch_norm: Any, layer: Any, inputs: int) -> list[Made]:
    """Return the tf_keras layers that together compute what ``layer`` (of Keras 3 or tf_keras) does, in order.

    batch_norm: the class that stands for BatchNormalization. inputs: how many tensors the layer is called with.
    Raises BridgeError for a setting that the bridge does not carry.
    """
    kind, layers = kind_of(layer), tf_keras.layers
    if kind in _MERGES and inputs < 2:
        raise BridgeError(f"layer {layer.name!r}: {kind} with a constant is not known to the bridge; use a Rescaling layer")
    if not hasattr(layer, "get_weights") or type(layer).__name__ == "TFOpLambda":
        return [Made(layer=getattr(layers, kind)(name=layer.name))]
    _check_settings(layer, kind)
    weights = [np.asarray(w) for w in layer.get_weights()]
    if kind in ("InputLayer", "Identity"):
        return []
    if kind in ("Activation", "ReLU", "LeakyReLU"):
        return [Made(layer=_activation_layer(layers, layer, kind))]
    settings = {key: value for key, value in layer.get_config().items() if key in SETTINGS.get(kind, ())}
    if kind == "SeparableConv2D":
        made = _separable(layers, layer, weights)
    elif kind == "BatchNormalization":
        made = [Made(layer=batch_norm(name=layer.name, **{**settings, "axis": _single(settings["axis"])}), weights=weights)]
    else:
        made = [Made(layer=getattr(layers, kind)(name=layer.name, **settings), weights=weights or None)]
    name = activation_name(layer) if kind in _ACTIVATED else "linear"
    if name not in LINEAR:
        suffix = "relu" if name in RELU else name
        made.append(Made(layer=_named_activation(layers, name, f"{layer.name}_{suffix}")))
    return made


def _activation_layer(layers: Any, layer: Any, kind: str) -> Any:
    if kind == "Activation":
        return _named_activation(layers, activation_name(layer), layer.name)
    config = layer.get_config()
    if kind == "LeakyReLU":
        return layers.LeakyReLU(alpha=float(config.get("negative_slope", config.get("alpha", 0.3))), name=layer.name)
    if float(config.get("negative_slope") or 0.0) or float(config.get("threshold") or 0.0):
        raise BridgeError(f"layer {layer.name!r}: a ReLU with a slope or threshold has no fused form in TFLite; use LeakyReLU")
    if config.get("max_value") not in (None, 6, 6.0):
        raise BridgeError(
            f"layer {layer.name!r}: a ReLU up to {config['max_value']} has no fused form in TFLite; use ReLU or ReLU6"
        )
    return layers.ReLU(max_value=config.get("max_value"), name=layer.name)


def _named_activation(layers: Any, name: str, layer_name: str) -> Any:
    if name in ("relu", "relu6"):
        return layers.ReLU(max_value=6.0 if name == "relu6" else None, name=layer_name)
    if name == "linear" or name in _ACTIVATIONS:
        return layers.Activation(name, name=layer_name)
    raise BridgeError(
        f"layer {layer_name!r}: activation {name!r} is not known to the bridge, expected {', '.join(sorted(_ACTIVATIONS))}"
    )


def _separable(layers: Any, layer: Any, weights: list[np.ndarray]) -> list[Made]:
    config = layer.get_config()
    shared = {
        key: config[key] for key in ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "depth_multiplier")
    }
    depthwise = layers.DepthwiseConv2D(use_bias=False, name=f"{layer.name}_depthwise", **shared)
    pointwise = layers.Conv2D(config["filters"], 1, use_bias=config["use_bias"], name=layer.name)
    return [Made(layer=depthwise, weights=weights[:1]), Made(layer=pointwise, weights=weights[1:])]


def _single(axis: Any) -> int:
    return int(axis[0]) if isinstance(axis, list | tuple) else int(axis)


def _check_settings(layer: Any, kind: str) -> None:
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        raise BridgeError(f"layer {layer.name!r}: channels first; TFLite computes channels last, rebuild the model that way")
    if kind == "UpSampling2D" and layer.get_config()["interpolation"] not in ("nearest", "bilinear"):
        raise BridgeError(f"layer {layer.name!r}: {layer.get_config()['interpolation']} upsampling; expected nearest or bilinear")
