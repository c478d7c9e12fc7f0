"""The network without what was cut, as plain Keras: no code of ours is needed to load it. Weights are copied, the original stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConversionError, first_line
from ..loading.io_specs import picture_at
from ..qat.bridge_operations import Call, calls, listed
from ..quiet import import_keras, quiet
from . import channels
from .copies import Copies, folds
from .flat import called, exclusive, flat, is_model, kind_of
from .structure import SCALED, Structure, joins, replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What goes. ``blocks``: names of `Block`. ``kept``: by the name of a `Channels`, the channels that stay, ascending.

    ``size``: another input height and width, in pixels.
    """

    blocks: frozenset[str] = frozenset()
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    size: tuple[int, int] | None = None


def apply(model: Any, cut: Cut) -> Any:
    """Return a new ``keras.Model`` without what ``cut`` names; names of layers, inputs and outputs stay, ``model`` is untouched.

    The residual scale of a ``CustomScaleLayer``, which not every Keras can load, is folded into the linear convolution that makes the
    branch, and the layer becomes ``Add``: exact but for the rounding of float32. The result is not compiled.

    Raises ConversionError for a name that is no part that can go, and where the network cannot be built at ``cut.size``.
    """
    network = flat(model)
    by_name = {join.step.path: join for join in joins(network)}
    unknown = sorted(cut.blocks - by_name.keys())
    if unknown:
        there = ", ".join(by_name) or "none, since it has none"
        raise ConversionError(f"{model.name}: {unknown[0]!r} is no block that can be removed; expected one of {there}")
    removed = [by_name[name] for name in by_name if name in cut.blocks]
    without = replaced(network, removed)
    gone = exclusive(network.steps, network.outputs, without)
    needed = {step.path for at, step in enumerate(network.steps) if at not in gone}
    surgeon = _Surgeon(
        copies=Copies(
            folds=folds(network), narrowings=channels.narrowings(network, channels.gone(network, cut.kept, where=model.name))
        ),
        straight={
            step.path: step.sources.index(without[step.results[0]])
            for step in network.steps
            if len(step.results) == 1 and step.results[0] in without
        },
        gone=frozenset(step.path for step in network.steps) - needed,
    )
    with quiet():
        try:
            result = surgeon.rebuilt(model, "", _sized(model, cut.size))
            surgeon.copies.fill()
        except (TypeError, ValueError) as error:
            at = f" at {cut.size[0]}x{cut.size[1]} pixels" if cut.size else ""
            raise ConversionError(f"{model.name}: cannot be rebuilt{at}: {first_line(error)}") from error
    return result


def gated(model: Any, structure: Structure) -> Any:
    """Return the same network with one more input, ``gates`` float32 (batch, len(structure.blocks)): each branch times its gate.

    A gate of 1 leaves a block as it is, 0 takes its branch out, for each picture by itself: for ranking without building a network for
    each candidate. Inputs: ``[*inputs, gates]``, or a dict with the key ``gates``. Nested models are opened. Not meant to be saved.
    """
    keras = import_keras()
    network = flat(model)
    at = {block.name: i for i, block in enumerate(structure.blocks)}
    by_name = {join.step.path: join for join in joins(network)}
    copies = Copies(folds=folds(network))
    with quiet():
        inputs = _inputs(model, _sized(model, None))
        gates = keras.Input((len(at),), name="gates")
        values = dict(zip(network.inputs, inputs, strict=True))
        surgeon = _Surgeon(copies=copies, straight={}, gone=frozenset())
        taken: set[str] = set()
        for step in network.steps:
            given = {id(tensor): values[number] for number, tensor in zip(step.sources, step.call.sources, strict=True)}
            if step.path in at:
                gate = keras.ops.reshape(gates[:, at[step.path]], (-1, *[1] * (len(step.call.results[0].shape) - 1)))
                branch = step.sources.index(by_name[step.path].branch)
                given[id(step.call.sources[branch])] = given[id(step.call.sources[branch])] * gate
            values.update(zip(step.results, surgeon.called(step.call, step.path, given, taken), strict=True))
        outputs = _like(_output(model), listed(model.outputs), [values[number] for number in network.outputs])
        fed = _like(_input(model), listed(model.inputs), inputs)
        fed = {**fed, "gates": gates} if isinstance(fed, Mapping) else [*listed(fed), gates]
        result = keras.Model(fed, outputs, name=f"{model.name}_gated")
        copies.fill()
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surgeon:
    """``straight``: the sums that go, by path, and which of their sources takes their place. ``gone``: layers that nothing needs then."""

    copies: Copies
    straight: Mapping[str, int]
    gone: frozenset[str]
    models: dict[int, Any] = field(default_factory=dict)

    def rebuilt(self, model: Any, prefix: str, shapes: Sequence[tuple[int | None, ...]], *, whole: bool = False) -> Any:
        """Return ``model`` with inputs of ``shapes`` (batch axis first), or None where nothing of it is needed."""
        keras = import_keras()
        inputs = _inputs(model, shapes)
        values = dict(zip(map(id, listed(model.inputs)), inputs, strict=True))
        for call in calls(model):
            path = f"{prefix}{call.layer.name}"
            if path in self.straight:
                values[id(call.results[0])] = values[id(call.sources[self.straight[path]])]
                continue
            ready = all(id(tensor) in values for tensor in call.sources) and type(call.layer).__name__ != "InputLayer"
            if ready and (whole or path not in self.gone):
                values.update(zip(map(id, call.results), self.called(call, path, values), strict=False))
        there = [id(tensor) in values for tensor in listed(model.outputs)]
        if not any(there):
            return None
        if not all(there):
            return self.rebuilt(model, prefix, shapes, whole=True)  # one of its outputs is needed, and all of them are made
        outputs = [values[id(tensor)] for tensor in listed(model.outputs)]
        return keras.Model(
            _like(_input(model), listed(model.inputs), inputs),
            _like(_output(model), listed(model.outputs), outputs),
            name=model.name,
        )

    def called(self, call: Call, path: str, values: Mapping[int, Any], taken: set[str] | None = None) -> list[Any]:
        """Return what a copy of the call's layer makes of ``values``: the new tensors, by the ids of the original ones.

        Returns an empty list for a nested model of which nothing is needed.
        taken: names of layers that are in use, where several models become one.
        """
        layer = call.layer
        if is_model(layer):
            if id(layer) not in self.models:
                given = [tuple(values[id(tensor)].shape) for tensor in call.sources]
                stored = [tuple(tensor.shape) for tensor in listed(layer.inputs)]
                shapes = [
                    tuple(_open(a, b) for a, b in zip(old, new, strict=True)) for old, new in zip(stored, given, strict=True)
                ]
                self.models[id(layer)] = self.rebuilt(layer, f"{path}/", shapes)
            nested = self.models[id(layer)]
            return [] if nested is None else listed(called(call, values, layer=nested))
        if kind_of(layer) == SCALED:
            sources = [values[id(tensor)] for tensor in call.sources]
            return [self.copies.plain_sum(layer, sources, _name(layer.name, taken))]
        return listed(called(call, values, layer=self.copies.of(layer, name=_name(layer.name, taken))))


def _like(structure: Any, tensors: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return ``structure`` of ``tensors`` with ``others`` in their places."""
    by_id = dict(zip(map(id, tensors), others, strict=True))
    return import_keras().tree.map_structure(lambda tensor: by_id[id(tensor)], structure)


def _inputs(model: Any, shapes: Sequence[tuple[int | None, ...]]) -> list[Any]:
    """Return new inputs of ``shapes`` with the names of the model's input layers."""
    names = {id(call.results[0]): call.layer.name for call in calls(model) if type(call.layer).__name__ == "InputLayer"}
    return [
        import_keras().Input(batch_shape=shape, dtype=tensor.dtype, name=names.get(id(tensor), tensor.name))
        for tensor, shape in zip(listed(model.inputs), shapes, strict=True)
    ]


def _input(model: Any) -> Any:
    return model.inputs[0] if type(model).__name__ == "Sequential" else model.input


def _output(model: Any) -> Any:
    return model.outputs[0] if type(model).__name__ == "Sequential" else model.output


def _sized(model: Any, size: tuple[int, int] | None) -> list[tuple[int | None, ...]]:
    """Return the shapes of the model's inputs, that of the picture at another size."""
    shapes = [tuple(tensor.shape) for tensor in listed(model.inputs)]
    if size is None:
        return shapes
    at = picture_at(shapes, [str(tensor.name) for tensor in listed(model.inputs)], where=model.name)
    if at is None:
        raise ConversionError(f"{model.name}: none of its inputs is a picture, so it has no size to change")
    batch, _, _, channels = shapes[at]
    return [*shapes[:at], (batch, *size, channels), *shapes[at + 1 :]]


def _open(stored: int | None, given: int | None) -> int | None:
    return None if stored is None else given


def _name(name: str, taken: set[str] | None) -> str:
    """Return ``name``, with a number behind it where it is taken; and take it."""
    if taken is None:
        return name
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
