"""What the bridge knows: for each Keras layer, the tf_keras layers that compute the same, and their weights.

A record per layer class says which settings carry over. Activations other than ReLU become layers of their own, and a separable
convolution becomes its two halves: TFLite has a tensor between them, which needs a range. What is computed without a layer is in
`bridge_operations`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BridgeError
from ..loading import keras_forms
from . import bridge_operations
from .bridge_operations import Call

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
    "AlphaDropout": ("rate",),
    "PReLU": ("shared_axes",),
    "Resizing": ("height", "width", "interpolation"),
}
WEIGHTED = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D", "Dense", "BatchNormalization", "PReLU"})
# These make something else than the record above says, or nothing at all.
SPECIAL = frozenset(
    {"SeparableConv2D", "Activation", "ReLU", "LeakyReLU", "CustomScaleLayer", "Normalization", "CenterCrop"}
    | {"InputLayer", "Identity", "ActivityRegularization"}
)
_NOTHING = frozenset({"InputLayer", "Identity", "ActivityRegularization"})
_ACTIVATED = frozenset({"Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D", "Dense"})
_ACTIVATIONS = frozenset(
    {*RELU, "softmax", "sigmoid", "tanh", "hard_sigmoid", "swish", "silu", "gelu", "elu", "exponential", "softplus"}
    | {"hard_silu", "hard_swish"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A tf_keras layer and the weights that it gets (None: it has none)."""

    layer: Any
    weights: Sequence[np.ndarray] | None = None


def known(layer: Any) -> bool:
    """Whether the bridge knows this layer's class, or this operation."""
    if bridge_operations.is_operation(layer):
        return bridge_operations.known(layer)
    kind = type(layer).__name__
    return kind in SETTINGS or kind in SPECIAL or is_augmentation(layer)


def is_augmentation(layer: Any) -> bool:
    """Whether ``layer`` is an image layer of Keras that acts by chance in training only (``RandomFlip``)."""
    return type(layer).__name__.startswith("Random") and type(layer).__module__.split(".")[0] in ("keras", "tf_keras")


def activation_name(layer: Any) -> str:
    """Return the name of a layer's activation function, ``linear`` where it has none."""
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", None) or getattr(activation, "name", None) or "linear"
    return "swish" if name == "silu" else str(name)


def make(tf_keras: Any, own: Any, call: Call) -> list[Made]:
    """Return the tf_keras layers that together compute what ``call``, one of Keras 3 or tf_keras, does, in order.

    own: the module `quantize.qat.layers`. Raises BridgeError for a setting that the bridge does not carry.
    """
    layer, layers = call.layer, tf_keras.layers
    kind = type(layer).__name__
    if bridge_operations.is_operation(layer):
        return [Made(layer=made) for made in bridge_operations.make(layers, own, call, named_activation)]
    _check_settings(call, kind)
    weights = [np.asarray(w) for w in layer.get_weights()]
    if kind in _NOTHING or _keeps_size(call, kind):
        return []
    if is_augmentation(layer):
        return [Made(layer=own.Augmentation(layer, name=layer.name))] if call.keeps_shape else []
    if kind == "Normalization":
        return [Made(layer=made) for made in _normalization(own, layer)]
    if kind == "CenterCrop":
        return [Made(layer=layers.Cropping2D(_cropped(call), name=layer.name))]
    if kind in ("Activation", "ReLU", "LeakyReLU"):
        return [Made(layer=_activation_layer(layers, own, layer, kind))]
    settings = {key: value for key, value in layer.get_config().items() if key in SETTINGS.get(kind, ())}
    if kind == "Rescaling":  # the numbers themselves: a configuration may hold them as a tensor
        settings = {key: np.asarray(getattr(layer, key), np.float32).tolist() for key in SETTINGS[kind]}
    if kind == "SeparableConv2D":
        made = _separable(layers, layer, weights)
    elif kind == "BatchNormalization":
        made = [
            Made(
                layer=own.FreezableBatchNormalization(name=layer.name, **{**settings, "axis": _single(settings["axis"])}),
                weights=weights,
            )
        ]
    else:
        made = [Made(layer=getattr(layers, kind)(name=layer.name, **settings), weights=weights or None)]
    name = activation_name(layer) if kind in _ACTIVATED else "linear"
    if name not in LINEAR:
        suffix = "relu" if name in RELU else name
        made.append(Made(layer=named_activation(layers, own, name, f"{layer.name}_{suffix}", keras_3=_is_keras_3(layer))))
    return made


def _activation_layer(layers: Any, own: Any, layer: Any, kind: str) -> Any:
    if kind == "Activation":
        return named_activation(layers, own, activation_name(layer), layer.name, keras_3=_is_keras_3(layer))
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


def named_activation(layers: Any, own: Any, name: str, layer_name: str, *, keras_3: bool) -> Any:
    """Return the layer of an activation function. keras_3: whether its name means what Keras 3 calls so.

    Raises BridgeError where the bridge does not know it.
    """
    if name in ("hard_silu", "hard_swish"):
        return layers.Activation(own.hard_swish, name=layer_name)
    if name == "hard_sigmoid" and keras_3:
        return layers.Activation(own.hard_sigmoid, name=layer_name)
    if name in ("relu", "relu6"):
        return layers.ReLU(max_value=6.0 if name == "relu6" else None, name=layer_name)
    if name == keras_forms.HARD_SIGMOID:
        return layers.Activation("hard_sigmoid", name=layer_name)
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


def _normalization(own: Any, layer: Any) -> list[Any]:
    """``(x - mean) / deviation`` in two ops, as Keras computes it."""
    mean, variance = (np.asarray(value, np.float32) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    operations = (("subtract", mean), ("divide", deviation))
    if layer.get_config().get("invert"):
        operations = (("multiply", deviation), ("add", mean))
    return [own.Arithmetic(name, number, name=f"{layer.name}_{name}") for name, number in operations]


def _cropped(call: Call) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return what CenterCrop cuts off, ((top, bottom), (left, right)) pixels."""
    config = call.layer.get_config()
    (height, width), (into_height, into_width) = call.sources[0].shape[1:3], (config["height"], config["width"])
    if into_height > height or into_width > width:
        raise BridgeError(f"layer {call.layer.name!r}: CenterCrop to more than the picture resizes it; use Resizing")
    top, left = (height - into_height) // 2, (width - into_width) // 2
    return (top, height - into_height - top), (left, width - into_width - left)


def _keeps_size(call: Call, kind: str) -> bool:
    return kind in ("Resizing", "CenterCrop") and call.keeps_shape


def _is_keras_3(layer: Any) -> bool:
    return type(layer).__module__.split(".")[0] == "keras"


def _single(axis: Any) -> int:
    return int(axis[0]) if isinstance(axis, list | tuple) else int(axis)


def _check_settings(call: Call, kind: str) -> None:
    layer = call.layer
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        raise BridgeError(f"layer {layer.name!r}: channels first; TFLite computes channels last, rebuild the model that way")
    if kind == "UpSampling2D" and layer.get_config()["interpolation"] not in ("nearest", "bilinear"):
        raise BridgeError(f"layer {layer.name!r}: {layer.get_config()['interpolation']} upsampling; expected nearest or bilinear")
    if kind == "Resizing" and not call.keeps_shape:
        config = layer.get_config()
        if str(config["interpolation"]).lower() not in ("nearest", "bilinear"):
            raise BridgeError(f"layer {layer.name!r}: {config['interpolation']} resizing; expected nearest or bilinear")
        special = [key for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias") if config.get(key)]
        if special:
            raise BridgeError(f"layer {layer.name!r}: Resizing with {special[0]} is not known to the bridge; resize without it")
    if kind == "RandomCrop" and not call.keeps_shape:
        raise BridgeError(
            f"layer {layer.name!r}: RandomCrop changes the picture's size at inference too; use Resizing or CenterCrop"
        )
