"""From any Keras model to one flat tf_keras network with the same weights: what tensorflow-model-optimization can work on.

Nested models are flattened. The residual scale of each ``CustomScaleLayer`` (``x + scale * up``) is folded into the kernel and bias
of the linear convolution that makes ``up``, which is exact, and the layer becomes ``Add``. Augmentation acts in
training only, as in Keras. The result is compared with the original on real images before anything is trained.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import tf_private
from ..errors import BridgeError
from ..loading.keras_outputs import structured
from ..quiet import import_tf_keras, quiet
from . import bridge_layers, bridge_operations
from .bridge_layers import Made
from .bridge_operations import Call, calls
from .bridge_operations import listed as _listed

TOLERANCE = 1e-4
"""Largest difference between original and bridged outputs, relative to the largest output."""

INPUT_LAYER = "image"
QUANTIZED_INPUT = "image_quantized"
"""A layer that does nothing, behind the input: the place of the input's range."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Bridged:
    """``network``: a flat tf_keras functional model, outputs in the order of the original's. ``folded``: convolutions that hold a
    residual scale. ``tensor_of``: original output tensor (by id) to the name of the layer that makes it here.
    """

    network: Any
    original: Any
    folded: frozenset[str]
    tensor_of: dict[int, str] = field(repr=False)


def bridge(model: Any) -> Bridged:
    """Rebuild ``model`` (Keras 3 or tf_keras; functional or sequential, nested or not) as a flat tf_keras network.

    Raises BridgeError naming every layer that is not known, and for what has no flat form: several inputs, shared weights.
    """
    if not hasattr(model, "layers"):
        raise BridgeError(
            f"{type(model).__name__} is no Keras model: there are no layers to train; give the .keras or .h5 file it came from"
        )
    unknown = sorted({f"{layer.name} ({type(layer).__name__})" for layer in _all_layers(model) if not bridge_layers.known(layer)})
    if unknown:
        raise BridgeError(
            f"{len(unknown)} layers are not known to the bridge: {', '.join(unknown[:8])}{' ...' if len(unknown) > 8 else ''};"
            f" it knows {', '.join(sorted({*bridge_layers.SETTINGS, *bridge_layers.SPECIAL}))}"
        )
    if len(model.inputs) != 1:
        raise BridgeError(f"the model has {len(model.inputs)} inputs, expected one image")
    with quiet():
        return _Builder(model).build()


def check(bridged: Bridged, tensors: np.ndarray) -> float:
    """Return the largest relative difference between original and bridged outputs over ``tensors`` float32 ``(N, H, W, C)``.

    Raises BridgeError naming the first layer that differs when it is above TOLERANCE.
    """
    with quiet():
        if not str(getattr(bridged.original.inputs[0].dtype, "name", bridged.original.inputs[0].dtype)).startswith(
            ("float", "bfl")
        ):
            tensors = np.rint(tensors)  # what a network for whole numbers is fed
        theirs = _outputs(bridged.original(tensors, training=False), bridged.original)
        ours = _outputs(bridged.network(tensors, training=False), bridged.network)
        worst = max(relative_difference(b, a) for a, b in zip(theirs, ours, strict=True))
        if worst <= TOLERANCE:
            return worst
        where = _first_difference(bridged, tensors[:1])
    raise BridgeError(
        f"the rebuilt network's outputs differ from the original's by {worst:.1e} of the largest value, at most {TOLERANCE:g} expected;"
        f" the first layer that differs is {where}"
    )


def relative_difference(candidate: np.ndarray, reference: np.ndarray) -> float:
    """Return ``max |candidate - reference| / max |reference|``; infinite where a value is not finite."""
    difference = float(np.max(np.abs(candidate - reference), initial=0.0))
    largest = float(np.max(np.abs(reference), initial=0.0))
    return difference / max(largest, 1e-12) if np.isfinite(difference) else float("inf")


def nodes(model: Any) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Yield ``(layer, input tensors, output tensors)`` of every call in a Keras 3 or tf_keras model, in the order of computation."""
    for call in calls(model):
        yield call.layer, list(call.sources), list(call.results)


class _Builder:
    """Walks the original once and calls a tf_keras layer for each of its layers."""

    def __init__(self, model: Any) -> None:
        from . import layers

        self.keras = import_tf_keras()
        self.own = layers
        self.model = model
        self.names: set[str] = {INPUT_LAYER, QUANTIZED_INPUT}
        self.made: dict[str, Made] = {}
        self.folded: set[str] = set()
        self.tensor_of: dict[int, str] = {}
        self.used: set[int] = set()
        self.producer: dict[int, tuple[str, Any]] = {}  # bridged tensor -> the layer's name and class
        self.gates: dict[int, tuple[str, Any]] = {}  # bridged tensor -> how far it is a hard sigmoid of which tensor

    def build(self) -> Bridged:
        shape = tuple(self.model.inputs[0].shape[1:])
        if len(shape) != 3 or None in shape:
            raise BridgeError(f"the model's input is {shape}, expected (height, width, channels) without open sizes")
        image = self.keras.Input(shape, name=INPUT_LAYER)
        start = self.keras.layers.Activation("linear", name=QUANTIZED_INPUT)(image)
        by_tensor = dict(zip(map(id, _listed(self.model.outputs)), self._walk(self.model, [start]), strict=True))
        outputs = [by_tensor[id(tensor)] for tensor in _in_own_order(self.model)]
        if len({id(t) for t in outputs}) != len(outputs) or any(t is start for t in outputs):
            raise BridgeError("an output of the model is its input, or two outputs are the same tensor; remove one of them")
        network = self.keras.Model(image, outputs if len(outputs) > 1 else outputs[0], name="network")
        kept = {layer.name for layer in network.layers}
        self.tensor_of = {tensor: name for tensor, name in self.tensor_of.items() if name in kept}
        for name, made in self.made.items():
            if made.weights is not None and name in kept:
                network.get_layer(name).set_weights(made.weights)
        return Bridged(network=network, original=self.model, folded=frozenset(self.folded), tensor_of=self.tensor_of)

    def _walk(self, model: Any, inputs: Sequence[Any]) -> list[Any]:
        values = {id(tensor): value for tensor, value in zip(_listed(model.inputs), inputs, strict=True)}
        uses = Counter(id(source) for _, sources, _ in nodes(model) for source in sources)
        uses.update(id(tensor) for tensor in _listed(model.outputs))
        for call in calls(model):
            if type(call.layer).__name__ == "InputLayer":
                continue
            arguments = [values[id(source)] for source in call.sources]
            if type(call.layer).__name__ == "CustomScaleLayer":
                outputs = [self._scaled_add(call.layer, arguments, foldable=uses[id(call.sources[1])] == 1)]
            else:
                outputs = self._call(call, arguments)
            for result, output in zip(call.results, outputs, strict=True):
                values[id(result)] = output
                name = self.producer.get(id(output))
                if name is not None:
                    self.tensor_of[id(result)] = name[0]
        return [values[id(tensor)] for tensor in _listed(model.outputs)]

    def _call(self, call: Call, arguments: list[Any]) -> list[Any]:
        layer = call.layer
        has_weights = hasattr(layer, "layers") or type(layer).__name__ in bridge_layers.WEIGHTED
        if has_weights and id(layer) in self.used:
            raise BridgeError(
                f"layer {layer.name!r} is used twice with the same weights; a range can serve only one place: make it two layers"
            )
        self.used.add(id(layer))
        if hasattr(layer, "layers"):
            return self._walk(layer, arguments)
        value = arguments[0] if len(arguments) == 1 else arguments
        for made in bridge_layers.make(self.keras, self.own, call):
            gated = self._gated(made.layer, value)
            if gated is not None:
                made = Made(layer=self.keras.layers.Activation(self.own.hard_swish, name=made.layer.name))
                value = gated
            value = self._apply(made, value)
        return [value]

    def _gated(self, layer: Any, value: Any) -> Any:
        """Return ``x`` where ``layer`` computes ``x * relu6(x + 3) / 6`` of the steps that tf_keras spells it in, else None.

        TFLite has one op and one tensor for it.
        """
        kind = type(layer).__name__
        if kind == "Multiply" and isinstance(value, list) and len(value) == 2:
            for one, other in (value, value[::-1]):
                stage, base = self.gates.get(id(other), ("", None))
                if stage == "gate" and base is one:
                    return one
        return None

    def _note_gate(self, layer: Any, value: Any, output: Any) -> None:
        stage, base = self.gates.get(id(value), ("", None))
        kind = type(layer).__name__
        if kind == "Arithmetic" and layer.number.values.size == 1 and not layer.swapped:
            number = float(layer.number.values.reshape(()))
            if layer.operation == "add" and number == 3.0:
                self.gates[id(output)] = ("moved", value)
            elif (
                stage == "cut" and abs({"multiply": number * 6.0, "divide": number / 6.0}.get(layer.operation, 0.0) - 1.0) < 1e-6
            ):
                self.gates[id(output)] = ("gate", base)
        elif kind == "ReLU" and stage == "moved" and layer.max_value == 6:
            self.gates[id(output)] = ("cut", base)

    def _apply(self, made: Made, value: Any) -> Any:
        layer = made.layer
        tf_private.rename(layer, self._unique(layer.name))
        output = layer(value)
        self.made[layer.name] = made
        self.producer[id(output)] = (layer.name, type(layer).__name__)
        self._note_gate(layer, value, output)
        return output

    def _scaled_add(self, layer: Any, arguments: list[Any], *, foldable: bool) -> Any:
        """Fold the scale into the convolution that makes the second argument, where nothing else uses that; else multiply by it."""
        straight, up = arguments
        scale = np.float32(layer.get_config()["scale"])
        name, kind = self.producer[id(up)]
        if kind == "Conv2D" and foldable and self.made[name].weights is not None:
            weights = self.made[name].weights or ()
            self.made[name] = Made(layer=self.made[name].layer, weights=[w * scale for w in weights])
            self.folded.add(name)
        else:
            up = self._apply(Made(layer=self.keras.layers.Rescaling(float(scale), name=f"{layer.name}_scale")), up)
        return self._apply(Made(layer=self.keras.layers.Add(name=layer.name)), [straight, up])

    def _unique(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        candidate, count = plain, 1
        while candidate in self.names:
            candidate, count = f"{plain}_{count}", count + 1
        self.names.add(candidate)
        return candidate


def _first_difference(bridged: Bridged, tensors: np.ndarray) -> str:
    """Compute both networks layer by layer and name the first layer of the original whose output differs."""
    network = bridged.network
    taps = {name: network.get_layer(name).output for name in dict.fromkeys(bridged.tensor_of.values())}
    values = import_tf_keras().Model(network.input, taps)(tensors, training=False)
    return next(_differing(bridged, bridged.original, [tensors], values), "none of them: only the outputs differ")


def _differing(bridged: Bridged, model: Any, inputs: list[Any], values: dict[str, Any]) -> Iterator[str]:
    known = {id(tensor): value for tensor, value in zip(_listed(model.inputs), inputs, strict=True)}
    for call in calls(model):
        layer = call.layer
        if type(layer).__name__ == "InputLayer":
            continue
        if hasattr(layer, "layers"):
            yield from _differing(bridged, layer, [known[id(source)] for source in call.sources], values)
        outputs = _listed(_compute(call, known))
        for result, output in zip(call.results, outputs, strict=True):
            known[id(result)] = output
            name = bridged.tensor_of.get(id(result))
            comparable = name is not None and name not in bridged.folded and not hasattr(layer, "layers")
            if comparable and relative_difference(np.asarray(values[str(name)]), np.asarray(output)) > TOLERANCE:
                yield f"{layer.name!r} ({type(layer).__name__})"


def _compute(call: Call, known: Mapping[int, Any]) -> Any:
    """Call the layer again as the model does, with the values that are known of its tensors, in inference mode."""

    def filled(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(filled(item) for item in value)
        return known.get(id(value), value)

    kwargs = {key: filled(value) for key, value in call.kwargs.items() if key != "training"}
    if not bridge_operations.is_operation(call.layer) and "training" in inspect.signature(call.layer.call).parameters:
        kwargs["training"] = False
    return call.layer(*filled(tuple(call.args)), **kwargs)


def _all_layers(model: Any) -> Iterator[Any]:
    for layer, _, _ in nodes(model):
        if hasattr(layer, "layers"):
            yield from _all_layers(layer)
        else:
            yield layer


def _in_own_order(model: Any) -> list[Any]:
    """Return the output tensors as the model names them."""
    structure = structured(model)
    return list(structure.values()) if isinstance(structure, Mapping) else _listed(structure)


def _outputs(answer: Any, model: Any) -> list[np.ndarray]:
    """Return what ``model`` answered, in its own order."""
    values = [answer[key] for key in structured(model)] if isinstance(answer, Mapping) else _listed(answer)
    return [np.asarray(value) for value in values]
