"""TF-slim's Inception-ResNet-v2 as a Keras 3 network with slim's names and weights, up to either of its heads.

The trunk is that of ``keras.applications.InceptionResNetV2``. Keras does not have the auxiliary head: from the last of the blocks
at 17 x 17, average pooling 5 x 5 with stride 3, a 1 x 1 convolution, one over the whole map, and a dense layer.
Sizes come from the weights; what a convolution is connected to, its stride and its padding from here.
Szegedy, Ioffe, Vanhoucke, Alemi: "Inception-v4, Inception-ResNet and the impact of residual connections on learning", 2016.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ... import tf_private
from ...errors import LoadError
from ...quiet import import_keras, quiet
from .weights import EPSILON, Weights

AUXILIARY = "InceptionResnetV2/AuxLogits/Logits/BiasAdd"
LOGITS = "InceptionResnetV2/Logits/Logits/BiasAdd"
PREDICTIONS = "InceptionResnetV2/Logits/Predictions"
OUTPUTS: Mapping[str, str] = {AUXILIARY: "logits", LOGITS: "logits", PREDICTIONS: "probabilities"}
"""The nodes that a network can be cut at, and the kind of output each is."""

_MOMENTUM = 0.9997  # slim's batch_norm_decay
_SCALES = {"block35": 0.17, "block17": 0.10, "block8": 0.20}
_REPEATS = {"block35": "Repeat", "block17": "Repeat_1", "block8": "Repeat_2"}
PUBLISHED_BLOCKS = {"block35": 10, "block17": 20, "block8": 9}

_Step = tuple[str, int, str]  # name of the convolution, stride, padding
_SAME, _VALID = "same", "valid"


def block_counts(weights: Mapping[str, Weights]) -> dict[str, int]:
    """Return how many blocks of each kind the weights are for (without the last, which slim keeps apart)."""
    counts = dict.fromkeys(_REPEATS, 0)
    for name in weights:
        found = re.match(r"Repeat(?:_\d)?/(block\d+)_(\d+)/", name)
        if found and found.group(1) in counts:
            counts[found.group(1)] = max(counts[found.group(1)], int(found.group(2)))
    return counts


def build(weights: Mapping[str, Weights], output: str, shape: tuple[int, int, int], *, where: str) -> Any:
    """Return the Keras model from pixels to ``output`` (one of OUTPUTS).

    shape: (height, width, channels). Raises LoadError for weights that are missing, left over or of another shape.
    """
    import_keras()
    with quiet():
        return _Network(weights, where).build(output, shape)


class _Network:
    def __init__(self, weights: Mapping[str, Weights], where: str) -> None:
        self.keras, self.scaled_add = import_keras(), tf_private.get("CustomScaleLayer")
        self.weights, self.where = weights, where
        self.made: dict[str, list[tuple[Any, Sequence[Any]]]] = {}

    def build(self, output: str, shape: tuple[int, int, int]) -> Any:
        counts = block_counts(self.weights)
        image = self.keras.Input(shape, name="input")
        net = self._mixed_5b(self._stem(image))
        net = self._repeat(net, "block35", counts)
        net = self._mixed_6a(net)
        net = self._repeat(net, "block17", counts)
        head = self._auxiliary(net) if output == AUXILIARY else self._main(net, counts, softmax=output == PREDICTIONS)
        self._nothing_left(output)
        model = self.keras.Model(image, head, name="InceptionResnetV2")
        for layers in self.made.values():
            for layer, arrays in layers:
                layer.set_weights(arrays)
        return model

    def _stem(self, net: Any) -> Any:
        net = self._conv(net, "Conv2d_1a_3x3", 2, _VALID)
        net = self._conv(net, "Conv2d_2a_3x3", 1, _VALID)
        net = self._conv(net, "Conv2d_2b_3x3", 1, _SAME)
        net = self._max_pool(net, "MaxPool_3a_3x3")
        net = self._conv(net, "Conv2d_3b_1x1", 1, _VALID)
        net = self._conv(net, "Conv2d_4a_3x3", 1, _VALID)
        return self._max_pool(net, "MaxPool_5a_3x3")

    def _mixed_5b(self, net: Any) -> Any:
        pooled = self.keras.layers.AveragePooling2D(3, strides=1, padding=_SAME, name="Mixed_5b_Branch_3_AvgPool_0a_3x3")(net)
        branches = [
            self._branch(net, "Mixed_5b/Branch_0", "Conv2d_1x1"),
            self._branch(net, "Mixed_5b/Branch_1", "Conv2d_0a_1x1", "Conv2d_0b_5x5"),
            self._branch(net, "Mixed_5b/Branch_2", "Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"),
            self._branch(pooled, "Mixed_5b/Branch_3", "Conv2d_0b_1x1"),
        ]
        return self._concatenate(branches, "mixed_5b")

    def _mixed_6a(self, net: Any) -> Any:
        branches = [
            self._branch(net, "Mixed_6a/Branch_0", ("Conv2d_1a_3x3", 2, _VALID)),
            self._branch(net, "Mixed_6a/Branch_1", "Conv2d_0a_1x1", "Conv2d_0b_3x3", ("Conv2d_1a_3x3", 2, _VALID)),
            self._max_pool(net, "Mixed_6a_Branch_2_MaxPool_1a_3x3"),
        ]
        return self._concatenate(branches, "mixed_6a")

    def _mixed_7a(self, net: Any) -> Any:
        branches = [
            self._branch(net, "Mixed_7a/Branch_0", "Conv2d_0a_1x1", ("Conv2d_1a_3x3", 2, _VALID)),
            self._branch(net, "Mixed_7a/Branch_1", "Conv2d_0a_1x1", ("Conv2d_1a_3x3", 2, _VALID)),
            self._branch(net, "Mixed_7a/Branch_2", "Conv2d_0a_1x1", "Conv2d_0b_3x3", ("Conv2d_1a_3x3", 2, _VALID)),
            self._max_pool(net, "Mixed_7a_Branch_3_MaxPool_1a_3x3"),
        ]
        return self._concatenate(branches, "mixed_7a")

    def _repeat(self, net: Any, kind: str, counts: Mapping[str, int]) -> Any:
        for i in range(1, counts[kind] + 1):
            net = self._block(net, kind, f"{_REPEATS[kind]}/{kind}_{i}", f"{kind}_{i}", _SCALES[kind])
        return net

    def _block(self, net: Any, kind: str, scope: str, name: str, scale: float, *, activate: bool = True) -> Any:
        branches = [self._branch(net, f"{scope}/Branch_0", "Conv2d_1x1")]
        if kind == "block35":
            branches.append(self._branch(net, f"{scope}/Branch_1", "Conv2d_0a_1x1", "Conv2d_0b_3x3"))
            branches.append(self._branch(net, f"{scope}/Branch_2", "Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"))
        elif kind == "block17":
            branches.append(self._branch(net, f"{scope}/Branch_1", "Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"))
        else:
            branches.append(self._branch(net, f"{scope}/Branch_1", "Conv2d_0a_1x1", "Conv2d_0b_1x3", "Conv2d_0c_3x1"))
        up = self._linear_conv(self._concatenate(branches, f"{name}_mixed"), f"{scope}/Conv2d_1x1", f"{name}_conv")
        if up.shape[-1] != net.shape[-1]:
            raise LoadError(f"{self.where}: {scope}/Conv2d_1x1 makes {up.shape[-1]} channels, expected {net.shape[-1]}")
        net = self.scaled_add(scale, name=name)([net, up])
        return self.keras.layers.Activation("relu", name=f"{name}_ac")(net) if activate else net

    def _auxiliary(self, net: Any) -> Any:
        layers = self.keras.layers
        if min(net.shape[1:3]) < 5:
            raise LoadError(
                f"{self.where}: its auxiliary head pools 5 x 5, the map before it is {net.shape[1]} x {net.shape[2]};"
                " the input must have 107 x 107 pixels at least"
            )
        net = layers.AveragePooling2D(5, strides=3, padding=_VALID, name="AuxLogits_Conv2d_1a_3x3")(net)
        net = self._conv(net, "AuxLogits/Conv2d_1b_1x1", 1, _SAME)
        name, size = "AuxLogits/Conv2d_2a_5x5", tuple(net.shape[1:3])
        kernel = self._weights(name).kernel.shape[:2]
        if kernel != size:
            raise LoadError(
                f"{self.where}: {name} is {kernel[0]} x {kernel[1]}, the map there is {size[0]} x {size[1]};"
                " give the input size that the network was made for with --input-shape HEIGHTxWIDTH"
            )
        net = self._conv(net, name, 1, _VALID)
        return self._dense(layers.Flatten(name="AuxLogits_Flatten")(net), "AuxLogits/Logits", "AuxLogits_Logits")

    def _main(self, net: Any, counts: Mapping[str, int], *, softmax: bool) -> Any:
        net = self._mixed_7a(net)
        net = self._repeat(net, "block8", counts)
        last = counts["block8"] + 1
        net = self._block(net, "block8", "Block8", f"block8_{last}", 1.0, activate=False)
        net = self._conv(net, "Conv2d_7b_1x1", 1, _SAME)
        net = self.keras.layers.GlobalAveragePooling2D(name="AvgPool_1a_8x8")(net)
        name = "Predictions" if softmax else "Logits"
        return self._dense(net, "Logits/Logits", name, activation="softmax" if softmax else None)

    def _branch(self, net: Any, scope: str, *steps: str | _Step) -> Any:
        for step in steps:
            name, stride, padding = (step, 1, _SAME) if isinstance(step, str) else step
            net = self._conv(net, f"{scope}/{name}", stride, padding)
        return net

    def _conv(self, net: Any, unit: str, stride: int, padding: str) -> Any:
        layers, name = self.keras.layers, _layer_name(unit)
        kernel, norm = self._weights(unit).normalised()
        self._check(unit, kernel.shape, net)
        conv = layers.Conv2D(kernel.shape[3], kernel.shape[:2], strides=stride, padding=padding, use_bias=False, name=name)
        batch_norm = layers.BatchNormalization(scale=False, epsilon=EPSILON, momentum=_MOMENTUM, name=f"{name}_BatchNorm")
        net = layers.Activation("relu", name=f"{name}_Relu")(batch_norm(conv(net)))
        self.made[unit] = [(conv, [kernel]), (batch_norm, list(norm))]
        return net

    def _linear_conv(self, net: Any, unit: str, name: str) -> Any:
        weights = self._weights(unit)
        self._check(unit, weights.kernel.shape, net)
        if weights.norm is not None or weights.bias is None:
            raise LoadError(f"{self.where}: {unit} has no bias, expected one at the end of a residual block")
        conv = self.keras.layers.Conv2D(weights.kernel.shape[3], weights.kernel.shape[:2], padding=_SAME, name=name)
        net = conv(net)
        self.made[unit] = [(conv, [weights.kernel, weights.bias])]
        return net

    def _dense(self, net: Any, unit: str, name: str, activation: str | None = None) -> Any:
        weights = self._weights(unit)
        kernel = weights.kernel.reshape(-1, weights.kernel.shape[-1])  # a 1 x 1 convolution is the same
        if kernel.shape[0] != net.shape[-1] or weights.bias is None:
            raise LoadError(f"{self.where}: {unit} takes {kernel.shape[0]} values, {net.shape[-1]} come to it")
        dense = self.keras.layers.Dense(kernel.shape[1], activation=activation, name=name)
        net = dense(net)
        self.made[unit] = [(dense, [kernel, weights.bias])]
        return net

    def _max_pool(self, net: Any, name: str) -> Any:
        return self.keras.layers.MaxPooling2D(3, strides=2, padding=_VALID, name=name)(net)

    def _concatenate(self, branches: list[Any], name: str) -> Any:
        sizes = {tuple(branch.shape[1:3]) for branch in branches}
        if len(sizes) > 1:
            raise LoadError(
                f"{self.where}: the branches of {name} have different sizes {sorted(sizes)}; is it TF-slim's network?"
            )
        return self.keras.layers.Concatenate(name=name)(branches)

    def _weights(self, unit: str) -> Weights:
        if unit not in self.weights:
            raise LoadError(
                f"{self.where}: has no weights of {unit!r} among its {len(self.weights)} convolutions and dense layers;"
                " is it TF-slim's Inception-ResNet-v2, and up to this output?"
            )
        return self.weights[unit]

    def _check(self, unit: str, kernel: tuple[int, ...], net: Any) -> None:
        if len(kernel) != 4 or kernel[2] != net.shape[-1]:
            raise LoadError(
                f"{self.where}: the weights of {unit!r} are {kernel}, expected (height, width, {net.shape[-1]}, filters)"
            )
        if min(net.shape[1:3]) < 1:
            raise LoadError(f"{self.where}: the input is too small for the network: nothing is left at {unit!r}")

    def _nothing_left(self, output: str) -> None:
        other_head = ("Logits/", "Mixed_7a/", "Repeat_2/", "Block8/", "Conv2d_7b_1x1") if output == AUXILIARY else ("AuxLogits/",)
        left = [name for name in self.weights if name not in self.made and not name.startswith(other_head)]
        if left:
            raise LoadError(
                f"{self.where}: {len(left)} convolutions are no part of TF-slim's Inception-ResNet-v2: {', '.join(left[:4])}"
            )


def _layer_name(unit: str) -> str:
    """``Repeat/block35_1/Branch_0/Conv2d_1x1`` becomes ``block35_1_Branch_0_Conv2d_1x1``: Keras has no slashes in names."""
    return re.sub(r"^Repeat(_\d)?/", "", unit).replace("/", "_")
