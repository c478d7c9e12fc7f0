"""Where the converted file has activation tensors, read from a flat tf_keras network, and which of them share one range.

TFLite fuses a convolution with the batch norm and ReLU behind it, and an add with its ReLU: there is one tensor, at the end of the
chain. Pooling, concatenation, padding and reshaping take over the range of their inputs, so that all tensors they connect are one
group. Fake quantization stands at exactly these places, with exactly these shared ranges; hence the converted file needs no
QUANTIZE between them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..calibrate.same_range import SAME_RANGE_OPS, Groups
from . import bridge
from .bridge_operations import listed

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense")
_BATCH_NORM = ("BatchNormalization", "FreezableBatchNormalization")
_BEFORE_RELU = (*WEIGHTED, *_BATCH_NORM, "Add", "Subtract", "Multiply", "Arithmetic")
_WITH_NUMBERS = ("Arithmetic", "Rescaling")  # the converter may take these into the op beside them
# What the converter makes of a layer that takes values over or chooses among them.
_OP_OF = {
    "MaxPooling2D": "MAX_POOL_2D",
    "AveragePooling2D": "AVERAGE_POOL_2D",
    "GlobalMaxPooling2D": "REDUCE_MAX",
    "Concatenate": "CONCATENATION",
    "Flatten": "RESHAPE",
    "Reshape": "RESHAPE",
    "Permute": "TRANSPOSE",
    "ZeroPadding2D": "PAD",
    "Cropping2D": "STRIDED_SLICE",
    "UpSampling2D": "RESIZE_NEAREST_NEIGHBOR",  # or RESIZE_BILINEAR, as Resizing
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "Resizing": "RESIZE_BILINEAR",
}
# A mean over the whole picture may have a scale of its own.
_SAME_RANGE = frozenset(layer for layer, op in _OP_OF.items() if op in SAME_RANGE_OPS)
# They compute new values between those of their input, which the converted file rounds to the same grid.
_ROUNDING = frozenset({"AveragePooling2D", "UpSampling2D", "Resizing"})
_NOTHING = frozenset(
    {"InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Augmentation"}
)
# TFLite fixes these outputs: 256 steps over [0, 1), or [-1, 1).
FIXED = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What happens to the output of one layer.

    ``group``: the range that it shares (None: it makes no tensor in the converted file, or a fixed one). ``observed``: its values set
    the group's range. ``rounds``: its output is quantized here. ``fixed``: the range that TFLite imposes. ``from_zero``: a ReLU.
    """

    layer: str
    kind: str
    group: int | None = None
    observed: bool = False
    rounds: bool = False
    fixed: tuple[float, float] | None = None
    from_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """``places`` by layer name in the order of computation; ``batch_norm_of`` a weighted layer's fused batch norm; ``end_of`` the
    layer whose output is the converted op's, for each weighted layer; ``stands_for`` the layer whose tensor one that does nothing
    (dropout) passes on; ``mergeable`` the layers that have no tensor where the converter takes arithmetic with numbers into a neighbour.
    """

    places: Mapping[str, Place]
    groups: int
    batch_norm_of: Mapping[str, str]
    end_of: Mapping[str, str]
    stands_for: Mapping[str, str]
    mergeable: frozenset[str] = frozenset()

    @property
    def observed(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places.values() if place.observed)

    def tensors(self) -> Iterator[Place]:
        """The layers whose output is a tensor of the converted file."""
        return (place for place in self.places.values() if place.group is not None or place.fixed is not None)


def find(network: Any) -> Places:
    """Return the places of a flat tf_keras ``network`` (of `bridge.bridge`)."""
    layers, sources = _wiring(network)
    consumers: dict[str, list[str]] = {name: [] for name in layers}
    for name, names in sources.items():
        for source in names:
            consumers[source].append(name)
    outputs = {tensor.node.layer.name for tensor in listed(network.outputs)}
    fused: dict[str, str] = {}  # layer -> the layer behind it that it is one op with
    for name, layer in layers.items():
        if name not in outputs and len(consumers[name]) == 1 and _is_fused(layer, layers[consumers[name][0]]):
            fused[name] = consumers[name][0]
    groups = Groups[str]()
    stands_for: dict[str, str] = {}  # layer that does nothing -> the layer whose tensor it passes on
    for name, layer in layers.items():
        if _passes_on(layer):
            source = sources[name][0] if sources[name] else name
            stands_for[name] = stands_for.get(source, source)
            continue
        if _shares_range(layer) and _fixed(layer) is None:
            for source in sources[name]:
                tensor = stands_for.get(source, source)
                if _fixed(layers[tensor]) is None:
                    groups.join(name, tensor)
    places: dict[str, Place] = {}
    numbers: dict[str, int] = {}
    for name, layer in layers.items():
        fixed = _fixed(layer)
        if name in fused or _passes_on(layer):
            places[name] = Place(layer=name, kind=_kind(layer))
        elif fixed is not None:
            places[name] = Place(layer=name, kind=_kind(layer), rounds=True, fixed=fixed)
        else:
            same = _shares_range(layer)
            group = numbers.setdefault(groups.root(name), len(numbers))
            places[name] = Place(
                layer=name,
                kind=_kind(layer),
                group=group,
                observed=not same,
                rounds=not same or _kind(layer) in _ROUNDING,
                from_zero=_kind(layer) == "ReLU",
            )
    weighted = [name for name, layer in layers.items() if _kind(layer) in WEIGHTED]
    batch_norm_of = {name: fused[name] for name in weighted if name in fused and _kind(layers[fused[name]]) in _BATCH_NORM}
    return Places(
        places=places,
        groups=len(numbers),
        batch_norm_of=batch_norm_of,
        end_of={name: _end(name, fused) for name in weighted},
        stands_for=stands_for,
        mergeable=frozenset(name for name in layers if _mergeable(name, layers, consumers, fused)),
    )


def without(places: Places, merged: Collection[str]) -> Places:
    """Return ``places`` where the converted file has no tensor for the layers ``merged``: nothing is rounded there."""
    kept = {name: Place(layer=name, kind=place.kind) if name in merged else place for name, place in places.places.items()}
    numbers: dict[int, int] = {}
    for name, place in kept.items():
        if place.group is not None:
            kept[name] = replace(place, group=numbers.setdefault(place.group, len(numbers)))
    return replace(places, places=kept, groups=len(numbers))


def standalone_batch_norms(network: Any, places: Places) -> list[str]:
    """Return the batch norms that no convolution takes in: ops of their own in the converted file."""
    fused = set(places.batch_norm_of.values())
    return [layer.name for layer in network.layers if _kind(layer) in _BATCH_NORM and layer.name not in fused]


def other_weights(network: Any, places: Places) -> list[str]:
    """Return the layers with weights that are no kernel, bias or batch norm (PReLU)."""
    return [
        layer.name
        for layer in network.layers
        if layer.weights and layer.name not in places.end_of and _kind(layer) not in _BATCH_NORM
    ]


def _wiring(network: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    layers: dict[str, Any] = {}
    sources: dict[str, list[str]] = {}
    for layer, inputs, _ in bridge.nodes(network):
        layers[layer.name] = layer
        sources[layer.name] = [tensor.node.layer.name for tensor in inputs if tensor.node.layer is not layer]
    return layers, sources


def _is_fused(layer: Any, behind: Any) -> bool:
    if _kind(behind) in _BATCH_NORM:
        return _kind(layer) in WEIGHTED
    return _kind(behind) == "ReLU" and _kind(layer) in _BEFORE_RELU


def _mergeable(name: str, layers: Mapping[str, Any], consumers: Mapping[str, list[str]], fused: Mapping[str, str]) -> bool:
    chain = {start for start in layers if _end(start, fused) == name}
    beside = (_kind(layers[each]) for each in (*chain, *consumers[name]))
    return name != bridge.QUANTIZED_INPUT and any(kind in _WITH_NUMBERS for kind in beside)


def _passes_on(layer: Any) -> bool:
    if layer.name == bridge.QUANTIZED_INPUT:
        return False
    return _kind(layer) in _NOTHING or (_kind(layer) == "Activation" and layer.activation.__name__ == "linear")


def _shares_range(layer: Any) -> bool:
    """Whether the layer's output has its input's range. A mean over one pixel is its input, and the converter leaves it out."""
    if _kind(layer) == "GlobalAveragePooling2D":
        return tuple(layer.get_input_shape_at(0)[1:3]) == (1, 1)
    return _kind(layer) in _SAME_RANGE


def _fixed(layer: Any) -> tuple[float, float] | None:
    if _kind(layer) == "Softmax":
        return FIXED["softmax"]
    return FIXED.get(layer.activation.__name__) if _kind(layer) == "Activation" else None


def _end(name: str, fused: Mapping[str, str]) -> str:
    while name in fused:
        name = fused[name]
    return name


def _kind(layer: Any) -> str:
    return type(layer).__name__
