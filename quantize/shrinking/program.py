"""Two networks computed side by side, line by line: what both have in common is computed once, and values go once nothing needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .flat import Flat, Step


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Line:
    """One step of either network. Its values have numbers of their own, the same where both networks have the same value."""

    step: Step
    sources: tuple[int, ...]
    results: tuple[int, ...]
    changed: bool

    def run(self, state: Mapping[int, Any]) -> dict[int, Any]:
        """Return its results, by number."""
        values = {number: state[mine] for number, mine in zip(self.step.sources, self.sources, strict=True)}
        return dict(zip(self.results, self.step.compute(values), strict=True))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Program:
    """``lines``: all of the original's, and of the changed network those that compute something else (``Line.changed``).

    ``inputs``: numbers and dtypes of the values to begin with: the original's, then the changed network's where those are others.
    """

    lines: tuple[Line, ...]
    inputs: tuple[tuple[int, Any], ...]

    def lifetimes(self, needs: Iterable[tuple[int, Collection[int]]]) -> dict[int, int]:
        """Return the position of the last line that needs each value. needs: what else is needed, and in front of which line."""
        last = {value: position for position, line in enumerate(self.lines) for value in line.sources}
        for position, values in needs:
            for value in values:
                last[value] = max(position, last.get(value, -1))
        return last

    def run(self, state: dict[int, Any], start: int, stop: int, last: Mapping[int, int]) -> None:
        """Compute the lines from ``start`` up to ``stop`` in ``state``, and keep there what is needed from ``stop`` on."""
        for position in range(start, stop):
            for value in [value for value in state if last.get(value, -1) < position]:
                del state[value]
            state.update(self.lines[position].run(state))
        for value in [value for value in state if last.get(value, -1) < stop]:
            del state[value]


def interleaved(
    before: Flat, after: Flat, *, changed: Collection[str], same_inputs: bool, ahead: Mapping[str, str] | None = None
) -> Program:
    """Return both networks as one program. changed: paths of steps in ``after`` that differ from those of ``before`` by themselves.
    ahead: by paths of ``after``, up to which step of ``before`` all has to be there when it is computed.

    A step of ``after`` is left out where it reads the same values as its namesake in ``before`` and has the same weights.
    """
    namesakes = _by_key(before.steps)
    offset = 1 + max((value for step in before.steps for value in (*step.sources, *step.results)), default=0)
    number: dict[int, int] = {}  # value of `after` -> number in the program
    inputs = [(value, tensor.dtype) for value, tensor in _inputs(before)]
    for mine, (value, tensor) in zip(before.inputs, _inputs(after), strict=True):
        number[value] = mine if same_inputs else offset + value
        if not same_inputs:
            inputs.append((number[value], tensor.dtype))
    where = {id(step): position for position, step in enumerate(before.steps)}
    lines: list[Line] = []
    done = 0
    for key, step in _by_key(after.steps).items():
        twin = namesakes.get(key)
        sources = tuple(number[value] for value in step.sources)
        same = twin is not None and sources == twin.sources and step.path not in changed
        for value, other in zip(step.results, twin.results if twin is not None and same else step.results, strict=True):
            number[value] = other if same else offset + value
        if twin is not None:  # what stands in front of a step in the original is there when its namesake is computed
            until = namesakes.get(((ahead or {}).get(step.path, ""), 0), twin)
            upto = max(where[id(twin)], where[id(until)]) + 1
            lines.extend(_line(early) for early in before.steps[done:upto])
            done = max(done, upto)
        if not same:
            results = tuple(number[value] for value in step.results)
            lines.append(Line(step=step, sources=sources, results=results, changed=True))
    lines.extend(_line(late) for late in before.steps[done:])
    return Program(lines=tuple(lines), inputs=tuple(inputs))


def _line(step: Step) -> Line:
    return Line(step=step, sources=step.sources, results=step.results, changed=False)


def _by_key(steps: Sequence[Step]) -> dict[tuple[str, int], Step]:
    """Return the steps by their paths, and how often a layer was called before."""
    found: dict[tuple[str, int], Step] = {}
    for step in steps:
        found[step.path, sum(path == step.path for path, _ in found) if not step.alone else 0] = step
    return found


def _inputs(network: Flat) -> list[tuple[int, Any]]:
    """Return the numbers of a network's inputs with a tensor of each."""
    tensors = {value: tensor for step in network.steps for value, tensor in zip(step.sources, step.call.sources, strict=True)}
    return [(value, tensors[value]) for value in network.inputs]
