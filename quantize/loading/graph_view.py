"""A SavedModel's graph as it is stored: functions, calls and tensors, followed without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_PASS = frozenset(
    {"Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "Cast", "EnsureShape", "CheckNumerics"}
)
_MAX_STEPS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """The main graph, or one call of a function. ``call`` is (scope of the caller, calling node)."""

    nodes: dict[str, Any]
    function: Any = None
    call: tuple[Scope, Any] | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class GraphView:
    """``main`` maps node names to NodeDef; ``functions`` maps function names to FunctionDef."""

    main: dict[str, Any]
    functions: dict[str, Any]
    _bodies: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph_def: Any) -> GraphView:
        return cls({node.name: node for node in graph_def.node}, {f.signature.name: f for f in graph_def.library.function})

    def body(self, name: str) -> dict[str, Any]:
        """Return the nodes of function ``name`` by name."""
        if name not in self._bodies:
            self._bodies[name] = {node.name: node for node in self.functions[name].node_def}
        return self._bodies[name]

    def called(self, node: Any) -> list[str]:
        """Return the functions that ``node`` refers to: what it calls, and branches and bodies of control flow."""
        names = [node.op] if node.op in self.functions else []
        for value in node.attr.values():
            names.extend(f.name for f in (value.func, *value.list.func) if f.name in self.functions)
        return names

    def closure(self, nodes: Iterator[Any]) -> set[str]:
        """Return the names of all functions that ``nodes`` reach, directly or through others."""
        return self.reach({name for node in nodes for name in self.called(node)})

    def reach(self, names: set[str]) -> set[str]:
        """Return ``names`` and all functions that they reach."""
        found: set[str] = set()
        stack = [name for name in names if name in self.functions]
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack.extend(called for node in self.functions[name].node_def for called in self.called(node))
        return found

    def upstream(self, tensor_names: list[str]) -> Iterator[Any]:
        """Yield every main-graph node that the tensors (or nodes) depend on, control dependencies included."""
        seen: set[str] = set()
        stack = [_node(name) for name in tensor_names]
        while stack:
            name = stack.pop()
            if name in seen or name not in self.main:
                continue
            seen.add(name)
            node = self.main[name]
            yield node
            stack.extend(_node(item) for item in node.input)

    def producer(self, tensor: str, scope: Scope | None = None) -> tuple[Any, Scope] | None:
        """Return the node that calculates ``tensor`` and where it is, looking through calls and identities; None if unknown."""
        scope = scope or Scope(self.main)
        for _ in range(_MAX_STEPS):
            name, index = _node(tensor), _index(tensor)
            if name not in scope.nodes:
                if scope.call is None or scope.function is None:
                    return None
                arguments = [argument.name for argument in scope.function.signature.input_arg]
                if name not in arguments:
                    return None
                scope, caller = scope.call
                tensor = caller.input[arguments.index(name)]
                continue
            node = scope.nodes[name]
            if node.op in _PASS:
                tensor = node.input[index if node.op == "IdentityN" else 0]
                continue
            target = self._target(node)
            if target is None:
                return node, scope
            function = self.functions[target]
            returned = function.signature.output_arg[index].name
            tensor = function.ret[returned]
            scope = Scope(self.body(target), function, (scope, node), scope.depth + 1)
        return None

    def _target(self, node: Any) -> str | None:
        """Return the one function that a call node calls, or None for other nodes."""
        if node.op in self.functions:
            return str(node.op)
        if node.op in ("PartitionedCall", "StatefulPartitionedCall") and node.attr["f"].func.name in self.functions:
            return str(node.attr["f"].func.name)
        return None


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _index(tensor: str) -> int:
    """Main graphs write ``node:index``, functions ``node:argument:index``."""
    last = tensor.split(":")[-1]
    return int(last) if ":" in tensor and last.isdigit() else 0
