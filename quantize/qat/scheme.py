"""Our quantize scheme on tensorflow-model-optimization's extension points: quantizers, configs, registry and layout.

tfmot's own 8-bit scheme gives every pooling layer a range of its own, observes each output with two variables, and quantizes weights
as if no batch norm followed. Here ranges stand where TFLite has tensors, and are shared where its kernels demand it
(`quantize.qat.tensors`). Importing this module imports TensorFlow.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from .. import tf_private
from ..quiet import import_tf_keras, quiet
from . import bridge, tensors
from .ranges import RangeTable
from .tensors import Place, Places

_keras = import_tf_keras()
_before = os.environ.get("TF_USE_LEGACY_KERAS")
with quiet():
    import tensorflow_model_optimization as tfmot

    _Transform: Any = tf_private.get("quantize_layout_transform").QuantizeLayoutTransform
    _Registry: Any = tf_private.get("quantize_registry").QuantizeRegistry
    _Scheme: Any = tf_private.get("quantize_scheme").QuantizeScheme
# tfmot sets it for the whole process, and programs started from here would get Keras 2 as tf.keras.
if _before is None:
    os.environ.pop("TF_USE_LEGACY_KERAS", None)

_annotate = tfmot.quantization.keras.quantize_annotate_layer
PREFIX = "quant_"
# Kernel axes that one scale is shared over, all but the output channel's. Kernels: (height, width, in, out), depthwise (height,
# width, in, multiplier), transposed (height, width, out, in), dense (in, out).
_KERNEL_AXES = {"Conv2D": (0, 1, 2), "DepthwiseConv2D": (0, 1), "Conv2DTranspose": (0, 1, 3), "Dense": (0,)}


class ActivationQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a layer's output to 256 steps of its group's range, or of the range that TFLite imposes."""

    def __init__(self, place: Place, table: RangeTable) -> None:
        self.place, self.table = place, table

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        place = self.place
        if place.fixed is not None:
            return tf.quantization.fake_quant_with_min_max_args(inputs, *place.fixed, num_bits=8)
        if place.observed and training:
            self.table.observe(place, inputs)
        assert place.group is not None
        return fake_quantize(inputs, *self.table.limits(place.group))

    def get_config(self) -> dict[str, Any]:
        return {"layer": self.place.layer}


class WeightQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel to [-127, 127] steps, one scale per output channel or one for all, straight through for the gradient.

    With one scale for all, the kernel is rounded as the batch norm behind it will have scaled it: folding and rounding commute only
    per channel.
    """

    def __init__(self, kind: str, *, per_channel: bool) -> None:
        self.kind, self.per_channel = kind, per_channel
        self.batch_norm: Any = None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        if self.per_channel:
            return round_symmetric(inputs, _KERNEL_AXES[self.kind])
        if self.batch_norm is None:
            return round_symmetric(inputs, None)
        factor = tf.stop_gradient(self._channels(folding_factor(self.batch_norm)))
        return round_symmetric(inputs * factor, None) / factor

    def _channels(self, factor: Any) -> Any:
        if self.kind == "DepthwiseConv2D":
            return tf.reshape(factor, (1, 1, -1, 1))
        return tf.reshape(factor, (1, 1, -1, 1)) if self.kind == "Conv2DTranspose" else factor

    def get_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "per_channel": self.per_channel}


class EdgeConfig(tfmot.quantization.keras.QuantizeConfig):
    """How one layer is quantized: its kernel, where it has one, and its output, where it makes a tensor."""

    def __init__(self, weight: WeightQuantizer | None, output: ActivationQuantizer | None) -> None:
        self.weight, self.output = weight, output
        self.kernel: Any = None  # the variable; the wrapper puts the rounded tensor in its place in the layer

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        if self.weight is None:
            return []
        self.kernel = getattr(layer, kernel_name(layer))
        return [(self.kernel, self.weight)]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        return []  # activations that TFLite does not fuse are layers of their own here

    def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
        for weight in quantize_weights:
            setattr(layer, kernel_name(layer), weight)

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return [] if self.output is None else [self.output]

    def get_config(self) -> dict[str, Any]:
        return {}


class EdgeRegistry(_Registry):
    """Gives a layer its config by its place in the network, not by its class alone."""

    def __init__(self, places: Places, table: RangeTable, *, per_channel: bool) -> None:
        self.places, self.table, self.per_channel = places, table, per_channel
        self.configs: dict[str, EdgeConfig] = {}
        for place in places.places.values():
            weight = WeightQuantizer(place.kind, per_channel=per_channel) if place.kind in tensors.WEIGHTED else None
            output = ActivationQuantizer(place, table) if place.rounds else None
            if weight is not None or output is not None:
                self.configs[place.layer] = EdgeConfig(weight, output)

    def supports(self, layer: Any) -> bool:
        return layer.name in self.configs

    def get_quantize_config(self, layer: Any) -> EdgeConfig:
        return self.configs[layer.name]


class EdgeLayout(_Transform):
    """Leaves the network as it is (the bridge has brought it into TFLite's layout) and quantizes every layer in the registry."""

    def __init__(self, registry: EdgeRegistry) -> None:
        self.registry = registry

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return model, {name: {"quantize_config": config} for name, config in self.registry.configs.items()}


class EdgeScheme(_Scheme):
    """int8 as TFLite computes it."""

    def __init__(self, registry: EdgeRegistry) -> None:
        self.registry = registry

    def get_layout_transformer(self) -> EdgeLayout:
        return EdgeLayout(self.registry)

    def get_quantize_registry(self) -> EdgeRegistry:
        return self.registry


def quantize_network(network: Any, places: Places, table: RangeTable, *, per_channel: bool = True) -> Any:
    """Return ``network`` with fake quantization by our scheme: the same weights, layers renamed with ``PREFIX``."""
    registry = EdgeRegistry(places, table, per_channel=per_channel)

    def annotate(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        return _annotate(copy) if registry.supports(layer) else copy

    with quiet():
        annotated = _keras.models.clone_model(network, clone_function=annotate)
        annotated.set_weights(network.get_weights())
        quantized = tfmot.quantization.keras.quantize_apply(annotated, EdgeScheme(registry), quantized_layer_name_prefix=PREFIX)
    for name, batch_norm in places.batch_norm_of.items():
        weight = registry.configs[name].weight
        assert weight is not None
        # Where no ReLU follows, the batch norm makes the op's tensor, and is wrapped itself.
        wrapped = batch_norm in registry.configs
        weight.batch_norm = quantized.get_layer(PREFIX + batch_norm).layer if wrapped else quantized.get_layer(batch_norm)
    return quantized


def variables_of(quantized: Any, name: str) -> list[Any]:
    """Return the variables of what stands for layer ``name``, in the order of ``layer.weights`` of the float network."""
    wrapper = next((layer for layer in quantized.layers if layer.name == PREFIX + name), None)
    if wrapper is None:
        return list(quantized.get_layer(name).weights)
    layer, kernel = wrapper.layer, wrapper.quantize_config.kernel
    if kernel is None:
        return list(layer.weights)
    return [kernel] if layer.bias is None else [kernel, layer.bias]


def strip(quantized: Any, network: Any) -> None:
    """Copy the trained weights of ``quantized`` into the float ``network`` that it was made from."""
    for layer in network.layers:
        for target, trained in zip(layer.weights, variables_of(quantized, layer.name), strict=True):
            target.assign(trained)


def wiring(quantized: Any) -> dict[str, tuple[Any, Any]]:
    """Return (first input, output) symbolic tensors of what stands for each layer, output after its fake quantizer, by layer name.

    Cloning calls a layer anew that it does not wrap, so that ``layer.output`` would be that of an earlier network.
    """
    return {
        layer.name.removeprefix(PREFIX): ((inputs or outputs)[0], outputs[0])
        for layer, inputs, outputs in bridge.nodes(quantized)
    }


def kernel_name(layer: Any) -> str:
    """Return the attribute of a weighted layer that holds its kernel."""
    return "depthwise_kernel" if type(layer).__name__ == "DepthwiseConv2D" else "kernel"


def folding_factor(batch_norm: Any) -> Any:
    """Return ``gamma / sqrt(variance + epsilon)``, what folding a batch norm multiplies the kernel by, (channels,)."""
    factor = tf.math.rsqrt(batch_norm.moving_variance + batch_norm.epsilon)
    return factor if batch_norm.gamma is None else factor * batch_norm.gamma


@tf.custom_gradient
def fake_quantize(values: Any, low: Any, high: Any) -> Any:
    """Return ``values`` on the 256 steps of [low, high]; the gradient passes where they lie inside."""
    rounded = tf.quantization.fake_quant_with_min_max_vars(values, low, high, num_bits=8)

    def gradient(upstream: Any) -> Any:
        # TensorFlow's own gradient op makes three passes, for the values and for both limits, which we do not train by gradient.
        inside = tf.logical_and(values >= low, values <= high)
        return tf.where(inside, upstream, tf.zeros_like(upstream)), None, None

    return rounded, gradient


def round_symmetric(kernel: Any, axes: tuple[int, ...] | None) -> Any:
    """Return ``round(kernel / scale) * scale``, ``scale = max |kernel| / 127`` over ``axes`` (None: all). Gradient: identity."""

    @tf.custom_gradient
    def rounded(values: Any) -> Any:
        scale = tf.reduce_max(tf.abs(values), axes, keepdims=True) / 127.0
        scale = tf.where(scale > 0.0, scale, tf.ones_like(scale))
        return tf.round(values / scale) * scale, lambda upstream: upstream

    return rounded(kernel)
