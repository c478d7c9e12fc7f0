"""Which parts of a network can go so that the rest still fits together: residual blocks, and channels inside.

A residual block adds a branch to its shortcut: ``y = x + f(x)``. Without the branch, ``y = x`` (Huang et al., "Deep networks with
stochastic depth", 2016; Veit et al., "Residual networks behave like ensembles of relatively shallow networks", 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConversionError
from .channels import activation_of, groups
from .flat import Flat, Step, exclusive, final, flat

SCALED = "CustomScaleLayer"
"""Keras' own layer in InceptionResNetV2: its first input plus ``scale`` times its second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A residual branch that can go: its output has the shape of its shortcut.

    ``name``: the layer or operation that adds the two, behind the names of the nested models around it and "/".
    ``inside``: the layers that only this branch uses, in the order of execution.
    """

    name: str
    inside: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Output channels of a convolution that can go, since all that read them can follow.

    ``name``: the convolution. ``count``: how many it has. ``consumers``: the layers whose weights mix them, in the order of execution.
    """

    name: str
    count: int
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What can go. ``blocks`` and ``channels``: in the order of execution."""

    blocks: tuple[Block, ...]
    channels: tuple[Channels, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Join:
    """A step that adds a branch to a shortcut, by the numbers of their values. ``inside``: positions of the branch's own steps."""

    step: Step
    shortcut: int
    branch: int
    inside: tuple[int, ...]


def look(model: Any) -> Structure:
    """Return what of ``model`` (Keras 3, functional or sequential, with or without nested models) can go.

    Raises ConversionError, one line, where nothing can, and for what is no Keras 3 model of layers.
    """
    network = flat(model)
    blocks = tuple(
        Block(name=join.step.path, inside=tuple(dict.fromkeys(network.steps[at].path for at in join.inside)))
        for join in joins(network)
    )
    channels = tuple(
        Channels(name=group.step.path, count=len(group.numbers), consumers=tuple(step.path for step in group.consumers))
        for group in groups(network)
    )
    if not blocks and not channels:
        raise ConversionError(
            f"{model.name}: nothing in it can be removed: it has no residual block (a branch added to a shortcut of its own shape)"
            " and no convolution whose channels only linear layers read"
        )
    return Structure(blocks=blocks, channels=channels)


def joins(network: Flat) -> Iterator[Join]:
    """Yield the residual blocks of ``network`` that can go, in the order of execution.

    The shortcut is the side on whose own way there is no weight: nothing, or pooling. Where both sides have weights (a projection),
    none can go. Nor can the branch of a sum that is an output of the model, since the output would lose its name.
    """
    makers = network.makers()
    position = {id(step): at for at, step in enumerate(network.steps)}
    dead = exclusive(network.steps, network.outputs, {})
    for step in network.steps:
        if not is_sum(step) or step.results[0] in network.outputs or not step.alone:
            continue
        ways = [_above(value, makers, position) for value in step.sources]
        for shortcut, branch, own, way in (
            (step.sources[0], step.sources[1], ways[0], ways[1]),
            (step.sources[1], step.sources[0], ways[1], ways[0]),
        ):
            if any(network.steps[at].has_weights for at in own - way) or not way - own:
                continue
            if step.kind == SCALED and shortcut != step.sources[0]:
                continue  # its second input is scaled
            reads = {value for at in way - own for value in network.steps[at].sources}
            known = {value for at in own for value in network.steps[at].results} | {shortcut}
            if any(value in network.inputs and value not in _inputs_of(own, network, shortcut) for value in reads):
                continue  # what is added comes from another input
            if not reads & known:
                continue
            gone = exclusive(network.steps, network.outputs, {step.results[0]: shortcut}) - dead
            inside = tuple(sorted(at for at in gone & (way - own) if network.steps[at].alone))
            if any(network.steps[at].has_weights for at in inside):
                yield Join(step=step, shortcut=shortcut, branch=branch, inside=inside)
            break


def replaced(network: Flat, removed: Iterable[Join]) -> dict[int, int]:
    """Return by which value each one is replaced when the branches of ``removed`` go: each sum by its shortcut, and what a ReLU makes
    of that by what it reads, where that comes from the same ReLU already (``relu(relu(x)) = relu(x)``).
    """
    makers = network.makers()
    found = {join.step.results[0]: join.shortcut for join in removed}
    for step in network.steps:
        source = step.sources[0] if step.sources else -1
        if source in found and step.alone and not set(step.results) & set(network.outputs):
            maker = makers.get(final(source, found))
            if maker is not None and is_same_relu(maker, step):
                found[step.results[0]] = source
    return found


def is_same_relu(one: Step, other: Step) -> bool:
    """Whether both are the same ReLU, of those that change nothing the second time."""
    if one.kind != other.kind or one.kind not in ("ReLU", "Activation", "Relu", "Relu6"):
        return False
    if one.kind == "Activation":
        return activation_of(one.layer) == activation_of(other.layer) and activation_of(one.layer) in ("relu", "relu6")
    if one.kind == "ReLU":
        settings = [
            (step.layer.max_value, float(step.layer.negative_slope), float(step.layer.threshold)) for step in (one, other)
        ]
        return settings[0] == settings[1] and settings[0][1:] == (0.0, 0.0)
    return True


def ahead(network: Flat, removed: Sequence[Join]) -> dict[str, str]:
    """Return, by the path of a sum that stays, the last of the removed sums that follow it directly: its output has to stand for theirs."""
    makers, users = network.makers(), network.users()
    gone = {id(join.step) for join in removed}
    stands_for: dict[int, str] = {}  # position by id of a sum's step -> the path of the sum that stays in front of it
    found: dict[str, str] = {}
    for join in removed:
        around = {id(join.step), *(id(network.steps[at]) for at in join.inside)}
        maker = makers.get(join.shortcut)
        if maker is None or join.shortcut in network.outputs or any(id(user) not in around for user in users[join.shortcut]):
            continue  # something else reads what is in front of it
        if not is_sum(maker):
            value = maker.sources[0]
            behind = users.get(join.step.results[0], [])
            if len(users[value]) != 1 or value in network.outputs or not any(is_same_relu(maker, user) for user in behind):
                continue
            maker = makers.get(value)
        if maker is None or not is_sum(maker) or not maker.alone:
            continue
        first = stands_for.get(id(maker)) if id(maker) in gone else maker.path
        if first is not None:
            stands_for[id(join.step)] = first
            found[first] = join.step.path
    return found


def is_sum(step: Step) -> bool:
    """Whether ``step`` adds two values of one shape, both calculated."""
    if step.kind not in ("Add", SCALED) or len(step.sources) != 2 or step.sources[0] == step.sources[1]:
        return False
    shapes = {tuple(tensor.shape) for tensor in (*step.call.sources, *step.call.results)}
    return len(shapes) == 1


def _above(value: int, makers: dict[int, Step], position: dict[int, int]) -> frozenset[int]:
    """Return the positions of all steps that ``value`` depends on."""
    found: set[int] = set()
    stack = [value]
    while stack:
        step = makers.get(stack.pop())
        if step is not None and position[id(step)] not in found:
            found.add(position[id(step)])
            stack.extend(step.sources)
    return frozenset(found)


def _inputs_of(own: frozenset[int], network: Flat, shortcut: int) -> set[int]:
    """Return which of the model's inputs the shortcut depends on."""
    read = {value for at in own for value in network.steps[at].sources} | {shortcut}
    return read & set(network.inputs)
