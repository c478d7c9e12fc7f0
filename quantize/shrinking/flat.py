"""A Keras model as one flat list of calls, nested models opened: what is looked through, and what is computed step by step."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import tf_private
from ..errors import ConversionError
from ..qat import bridge_operations
from ..qat.bridge_operations import Call, calls, listed


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Step:
    """One call of one layer or operation. ``path``: its name, behind those of the nested models around it and "/".

    ``sources`` and ``results`` are numbers of values; a value has one number, also where it enters or leaves a nested model.
    ``alone``: whether its layer is called only here.
    """

    path: str
    call: Call
    sources: tuple[int, ...]
    results: tuple[int, ...]
    alone: bool

    @property
    def layer(self) -> Any:
        return self.call.layer

    @property
    def kind(self) -> str:
        """The class of its layer; of an operation without a layer, what it computes, as the bridge names it."""
        return kind_of(self.layer)

    @property
    def has_weights(self) -> bool:
        return bool(getattr(self.layer, "weights", ()))

    def shape(self, value: int) -> tuple[int | None, ...]:
        """Return the shape of one of its sources or results, with batch axis."""
        tensors = [*zip(self.sources, self.call.sources, strict=True), *zip(self.results, self.call.results, strict=True)]
        return next(tuple(tensor.shape) for number, tensor in tensors if number == value)

    def compute(self, values: Mapping[int, Any]) -> list[Any]:
        """Call the layer as the model does, in inference mode, with what ``values`` holds for its sources."""
        given = {id(tensor): values[number] for number, tensor in zip(self.sources, self.call.sources, strict=True)}
        return listed(called(self.call, given, {"training": False}))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Flat:
    """``steps`` in the order of execution. ``inputs``, ``outputs``: the numbers of the model's values, as ``model.inputs`` has them."""

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def makers(self) -> dict[int, Step]:
        """Return the step that makes each value; a model's input has none."""
        return {value: step for step in self.steps for value in step.results}

    def users(self) -> dict[int, list[Step]]:
        """Return the steps that read each value, once for each time that they do."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            for value in step.sources:
                found.setdefault(value, []).append(step)
        return found


def flat(model: Any) -> Flat:
    """Return a Keras 3 model, functional or sequential, as its calls. A nested model that is called twice stays one step.

    Raises ConversionError for what has no layers to look at: a subclassed model, one of tf_keras, one that was never built.
    """
    require(model)
    values: dict[int, int] = {}  # tensor, by id -> number
    counter = iter(range(1 << 31))
    for tensor in listed(model.inputs):
        values[id(tensor)] = next(counter)
    uses = _uses(model)
    steps = tuple(_walk(model, "", values, counter, uses))
    return Flat(
        steps=steps,
        inputs=tuple(values[id(tensor)] for tensor in listed(model.inputs)),
        outputs=tuple(values[id(tensor)] for tensor in listed(model.outputs)),
    )


def require(model: Any) -> None:
    """Raise ConversionError where ``model`` is no built Keras 3 model of layers."""
    if model is None:
        raise ConversionError(
            "a SavedModel holds a graph, no Keras 3 model, so there are no layers to take out: give the .keras or .h5 file it came from"
        )
    name, kind = getattr(model, "name", ""), type(model)
    if not hasattr(model, "layers") or any(base.__module__.startswith("tf_keras") for base in kind.__mro__):
        raise ConversionError(f"{name or kind.__name__}: a {kind.__name__} is no Keras 3 model: there are no layers to take out")
    if not getattr(model, "inputs", None) or not _is_functional(model):
        raise ConversionError(
            f"{name}: its layers are not known (a subclassed or never-built model); wrap it: x = keras.Input((H, W, 3));"
            " keras.Model(x, model(x))"
        )


def is_model(layer: Any) -> bool:
    """Whether ``layer`` is a model with calls of its own inside."""
    return hasattr(layer, "layers") and _is_functional(layer)


def kind_of(layer: Any) -> str:
    """Return the class of ``layer``; of an operation without a layer, what it computes, as the bridge names it."""
    return bridge_operations.kind_of(layer) if bridge_operations.is_operation(layer) else type(layer).__name__


def called(call: Call, values: Mapping[int, Any], extra: Mapping[str, Any] | None = None, layer: Any = None) -> Any:
    """Call ``layer`` (default: the call's own) with the call's arguments, its tensors replaced by ``values`` (by id)."""
    used = call.layer if layer is None else layer
    kwargs = {key: _filled(value, values) for key, value in call.kwargs.items()}
    for key, value in (extra or {}).items():
        if not bridge_operations.is_operation(used) and key in inspect.signature(used.call).parameters:
            kwargs[key] = value
    return used(*(_filled(value, values) for value in call.args), **kwargs)


def exclusive(steps: Sequence[Step], outputs: Sequence[int], without: Mapping[int, int]) -> set[int]:
    """Return the steps, by position, that nothing needs once each value in ``without`` is replaced by another."""
    needed = {final(value, without) for value in outputs}
    left: set[int] = set()
    for position in reversed(range(len(steps))):
        step = steps[position]
        if needed.isdisjoint(step.results):
            left.add(position)
        else:
            needed.update(final(value, without) for value in step.sources)
    return left


def final(value: int, by: Mapping[int, int]) -> int:
    """Return what ``value`` is replaced by in the end."""
    while value in by:
        value = by[value]
    return value


def _filled(value: Any, values: Mapping[int, Any]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, values) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return values.get(id(value), value)


def _walk(model: Any, prefix: str, values: dict[int, int], counter: Iterator[int], uses: Counter[int]) -> Iterator[Step]:
    for call in calls(model):
        layer = call.layer
        if type(layer).__name__ == "InputLayer":
            continue
        sources = tuple(values[id(tensor)] for tensor in call.sources)
        if is_model(layer) and uses[id(layer)] == 1:
            values.update({id(tensor): number for tensor, number in zip(listed(layer.inputs), sources, strict=True)})
            yield from _walk(layer, f"{prefix}{layer.name}/", values, counter, uses)
            inner = [values[id(tensor)] for tensor in listed(layer.outputs)]
            values.update({id(tensor): number for tensor, number in zip(call.results, inner, strict=True)})
            continue
        results = tuple(next(counter) for _ in call.results)
        values.update({id(tensor): number for tensor, number in zip(call.results, results, strict=True)})
        yield Step(path=f"{prefix}{layer.name}", call=call, sources=sources, results=results, alone=uses[id(layer)] == 1)


def _uses(model: Any) -> Counter[int]:
    """Count the calls of each layer, over all nested models; those inside a model that is called twice count twice."""
    found: Counter[int] = Counter()
    for call in calls(model):
        found[id(call.layer)] += 1
        if is_model(call.layer):
            found.update(_uses(call.layer))
    return found


def _is_functional(model: Any) -> bool:
    try:
        return bool(tf_private.nodes_by_depth(model))
    except AttributeError:
        return False
