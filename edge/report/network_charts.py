"""The error of every op in network order, and the map of the network in several colourings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .chart import Chart, Spec, spec, tips
from .facts import Explanation, Facts
from .network import COLUMNS, FAMILIES, MAPPINGS, PRECISIONS, NetworkMap, Node

_ROW_PIXELS = 15
_BINS_DB = (10, 15, 20, 25, 30)  # SQNR: what is left of the signal; 20 dB is an error of a tenth of it
_BIN_NAMES = ("below 10 dB", "10 to 15 dB", "15 to 20 dB", "20 to 25 dB", "25 to 30 dB", "30 dB and more", "not measured")


def op_errors(facts: Facts, entry: Explanation, number: int) -> Chart | None:
    """Return SQNR by the op's place in the network."""
    known = [op for op in entry.ops if op.sqnr_db is not None]
    if not known:
        return None
    rows = [
        {
            "position": op.position,
            "sqnr": op.sqnr_db,
            "op": op.op,
            "tensor": op.tensor,
            "kind": _kind(op.op),
            "said": f"{op.sqnr_db:.1f} dB",
        }
        for op in known
    ]
    at_x = {"field": "position", "type": "quantitative", "title": "op, in the order of computation", "scale": {"nice": False}}
    at_y = {"field": "sqnr", "type": "quantitative", "title": "SQNR in dB (low is bad)", "scale": {"zero": False}}
    kinds = ["convolution", "other"]
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": kinds, "range": ["var(--c0)", "var(--c1)"]},
        "title": None,
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.45, "color": "var(--muted)"},
            "encoding": {"x": at_x, "y": at_y},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.9},
            "name": "marks",
            "encoding": {"x": at_x, "y": at_y, "color": colour, "tooltip": tips("position", "op", "said", "tensor")},
        },
    ]
    worst = sorted(known, key=lambda op: op.sqnr_db or 0.0)
    name = next((variant.name for variant in facts.variants if variant.key == entry.variant), "")
    return Chart(
        id=f"ops-{number}",
        title=f"Error after each op{f' of {name}' if name else ''}{_where(facts, entry)}",
        alt=f"{len(known)} ops; the lowest SQNR is {worst[0].sqnr_db:.1f} dB, after op {worst[0].position} ({worst[0].op}).",
        specs={"": spec(layers, rows, height=260)},
        headers=("op", "kind", "SQNR", "result"),
        rows=tuple((str(op.position), op.op, f"{op.sqnr_db:.1f} dB", op.tensor) for op in worst[:40]),
    )


def _where(facts: Facts, entry: Explanation) -> str:
    return f", {entry.origin}" if len({other.origin for other in facts.explanations}) > 1 else ""


def network_map(found: NetworkMap) -> Chart:
    """Return the map; one colouring for each thing that is known."""
    colourings: dict[str, tuple[Callable[[Node], str], tuple[str, ...], list[str]]] = {
        "op": (lambda node: node.family, FAMILIES, [f"var(--c{i})" for i in range(len(FAMILIES))])
    }
    if any(node.sqnr_db is not None for node in found.nodes):
        ramp = [f"var(--ramp{i})" for i in range(len(_BINS_DB) + 1)]
        colourings["error"] = (_bin, _BIN_NAMES, [*ramp, "var(--faint)"])
    if any(node.precision is not None for node in found.nodes):
        colours = ["var(--c4)", "var(--c3)", "var(--c2)", "var(--c1)", "var(--c0)", "var(--c7)"]
        colourings["precision"] = (lambda node: node.precision or "other", PRECISIONS, colours)
    if any(node.mapped is not None for node in found.nodes):
        colourings["Edge TPU"] = (_mapping, MAPPINGS, ["var(--pass)", "var(--fail)", "var(--faint)"])
    specs = {name: _coloured(found, *how) for name, how in colourings.items()}
    where = "" if found.place is None else f" Edge TPU mapping as predicted for {found.place}."
    islands = [node for node in found.nodes if node.precision is not None and "float" in node.precision]
    on_cpu = [node for node in found.nodes if node.mapped is False]
    said = f" {len(on_cpu) or 'None'} are predicted to stay on the CPU." if found.place is not None else ""
    return Chart(
        id="map",
        title=f"Map of {found.variant}",
        alt=f"{len(found.nodes)} ops in the order of computation, line by line; {len(islands) or 'none'} compute in float.{said}{where}",
        specs=specs,
        headers=("op", "kind", "precision", "SQNR", "Edge TPU", "result"),
        rows=tuple(_cells(node) for node in found.nodes),
    )


def _coloured(found: NetworkMap, value: Callable[[Node], str], names: tuple[str, ...], colours: list[str]) -> Spec:
    present = {value(node) for node in found.nodes}
    kept = [(name, colour) for name, colour in zip(names, colours, strict=True) if name in present]
    at_x: dict[str, Any] = {
        "field": "x",
        "type": "quantitative",
        "scale": {"domain": [-0.2, COLUMNS + 0.2], "nice": False},
        "axis": None,
    }
    at_y: dict[str, Any] = {
        "field": "y",
        "type": "quantitative",
        "scale": {"domain": [-0.2, found.rows], "nice": False, "reverse": True},
        "axis": None,
    }
    scale = {"domain": [name for name, _ in kept], "range": [colour for _, colour in kept]}
    rows = [
        {
            "x": node.column + 0.08,
            "to_x": node.column + 0.84,
            "y": node.row + 0.1,
            "to_y": node.row + 0.82,
            "kind": value(node),
            "op": f"{node.index}: {node.op}",
            "tensor": node.tensor,
            "precision": node.precision or "not known",
            "sqnr": "not measured" if node.sqnr_db is None else f"{node.sqnr_db:.1f} dB",
            "mapping": _mapping(node) + (f": {node.reason}" if node.reason and node.mapped is False else ""),
        }
        for node in found.nodes
    ]
    edges = [
        {"x": edge.column + 0.84, "to_x": edge.to_column + 0.08, "y": edge.row + 0.46, "to_y": edge.to_row + 0.46}
        for edge in found.edges
    ]
    ends = {"x": at_x, "x2": {"field": "to_x"}, "y": at_y, "y2": {"field": "to_y"}}
    layers: list[Spec] = [
        {
            "data": {"values": edges},
            "mark": {"type": "rule", "color": "var(--muted)", "strokeWidth": 1, "opacity": 0.55},
            "encoding": ends,
        },
        {
            "mark": {"type": "rect", "cornerRadius": 2},
            "name": "marks",
            "encoding": {
                **ends,
                "color": {
                    "field": "kind",
                    "type": "nominal",
                    "scale": scale,
                    "legend": {"title": None, "orient": "top", "columns": {"expr": "max(1, floor(width / 160))"}},
                },
                "tooltip": tips("op", "tensor", "precision", "sqnr", "mapping"),
            },
        },
    ]
    return spec(layers, rows, height=found.rows * _ROW_PIXELS)


def _bin(node: Node) -> str:
    if node.sqnr_db is None:
        return _BIN_NAMES[-1]
    return _BIN_NAMES[sum(node.sqnr_db >= limit for limit in _BINS_DB)]


def _mapping(node: Node) -> str:
    return MAPPINGS[2] if node.mapped is None else MAPPINGS[0] if node.mapped else MAPPINGS[1]


def _kind(op: str) -> str:
    return "convolution" if op.endswith("CONV_2D") else "other"


def _cells(node: Node) -> tuple[str, ...]:
    sqnr = "-" if node.sqnr_db is None else f"{node.sqnr_db:.1f} dB"
    mapped = {None: "-", True: "mapped", False: f"CPU ({node.reason})"}[node.mapped]
    return str(node.index), node.op, node.precision or "-", sqnr, mapped, node.tensor
