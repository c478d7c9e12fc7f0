"""The network as a map: every op has a place, in the order of computation, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artefact import container
from ..artefact.graph import Graph, Op
from ..errors import EdgeError
from .facts import Facts, Prediction

COLUMNS = 32  # of a band; the network goes on below, like text

_ROW_OF_OPERATIONS = {
    "CONV_2D": "convolution",
    "TRANSPOSE_CONV": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
    "BATCH_MATMUL": "dense",
    "ADD": "arithmetic",
    "SUB": "arithmetic",
    "MUL": "arithmetic",
    "CONCATENATION": "concatenation",
    "AVERAGE_POOL_2D": "pooling",
    "MAX_POOL_2D": "pooling",
    "MEAN": "pooling",
    "QUANTIZE": "conversion",
    "DEQUANTIZE": "conversion",
}
FAMILIES = ("convolution", "depthwise", "dense", "arithmetic", "concatenation", "pooling", "conversion", "other")
PRECISIONS = ("int8", "int16", "int8 weights, float", "float16 weights, float", "float32", "other")
MAPPINGS = ("Edge TPU", "CPU", "not known")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One op. ``column`` counts along its band, ``row`` down the whole map. None where nothing is known."""

    index: int
    op: str
    tensor: str
    column: int
    row: int
    family: str
    precision: str | None
    sqnr_db: float | None
    mapped: bool | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """From one op to another of the same band, by their places on the map."""

    column: int
    row: int
    to_column: int
    to_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkMap:
    """``place``: the board whose Edge TPU mapping is shown. ``rows``: how high the map is."""

    variant: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    rows: int
    place: str | None


def draw(facts: Facts, candidate: str | None) -> NetworkMap | None:
    """Return the map of the explained variant, else of the candidate; None where nothing is known of its ops.

    The connections come from the file, where it is still what it was; without it the ops stand in a row.
    """
    explained = next((entry for entry in facts.explanations if entry.ops and entry.variant), None)
    key = candidate if explained is None else explained.variant
    variant = next((variant for variant in facts.variants if variant.key == key), None)
    prediction = next((entry for entry in facts.predictions if entry.variant == key and entry.ops), None)
    # Of one explanation: what another machine found is not put together with it.
    errors = {} if explained is None else {op.tensor: op.sqnr_db for op in explained.ops}
    if variant is None:
        return None
    graph = _graph(Path(variant.file), variant.key)
    if graph is not None:
        return _from_graph(graph, variant.name, prediction, errors)
    if prediction is not None:
        named: list[tuple[int, str, str, float | None]] = [(index, op, "", None) for index, op, _, _ in prediction.ops]
        return _in_a_row(variant.name, named, prediction)
    ops = [] if explained is None else [(op.position, op.op, op.tensor, op.sqnr_db) for op in explained.ops]
    return _in_a_row(variant.name, ops, None) if ops else None


def _graph(path: Path, model_sha256: str) -> Graph | None:
    if not path.is_file():
        return None
    try:
        source = container.read(path)
        return source.graph if source.model_sha256 == model_sha256 else None
    except (EdgeError, OSError):
        return None


def _from_graph(graph: Graph, name: str, prediction: Prediction | None, errors: Mapping[str, float | None]) -> NetworkMap:
    made_by = {tensor: op.index for op in graph.ops for tensor in op.outputs}
    sources = {op.index: sorted({made_by[i] for i in op.inputs if i in made_by}) for op in graph.ops}
    depth: dict[int, int] = {}
    for op in graph.ops:
        depth[op.index] = 1 + max((depth[i] for i in sources[op.index] if i in depth), default=-1)
    lanes = _lanes(graph, depth, sources)
    starts = _band_starts(depth, lanes)
    mapped = {index: (done, reason) for index, _, done, reason in prediction.ops} if prediction else {}
    nodes = []
    for op in graph.ops:
        tensor = graph.tensors[op.outputs[0]].name if op.outputs else ""
        band, column = divmod(depth[op.index], COLUMNS)
        nodes.append(
            Node(
                index=op.index,
                op=op.name,
                tensor=tensor,
                column=column,
                row=starts[band] + lanes[op.index],
                family=_ROW_OF_OPERATIONS.get(op.name, "other"),
                precision=_precision(op, graph),
                sqnr_db=errors.get(tensor),
                mapped=mapped.get(op.index, (None, None))[0],
                reason=mapped.get(op.index, (None, None))[1],
            )
        )
    place = None if prediction is None else prediction.origin.place
    return NetworkMap(variant=name, nodes=tuple(nodes), edges=tuple(_edges(nodes, sources, depth)), rows=starts[-1], place=place)


def _lanes(graph: Graph, depth: Mapping[int, int], sources: Mapping[int, list[int]]) -> dict[int, int]:
    """Give each op a lane: that of what feeds it where it is free at that depth, else the first free one."""
    taken: dict[int, set[int]] = {}
    lanes: dict[int, int] = {}
    for op in graph.ops:
        used = taken.setdefault(depth[op.index], set())
        feeding = [lanes[i] for i in sources[op.index] if i in lanes]
        # What joins several branches goes back to the first lane.
        wanted = 0 if len(feeding) != 1 else feeding[0]
        while wanted in used:
            wanted += 1
        lanes[op.index] = wanted
        used.add(wanted)
    return lanes


def _band_starts(depth: Mapping[int, int], lanes: Mapping[int, int]) -> list[int]:
    heights = [0] * (1 + max(depth.values(), default=0) // COLUMNS)
    for index, level in depth.items():
        heights[level // COLUMNS] = max(heights[level // COLUMNS], lanes[index] + 1)
    starts = [0]
    for height in heights:
        starts.append(starts[-1] + height + 1)  # and an empty row
    return starts


def _edges(nodes: list[Node], sources: Mapping[int, list[int]], depth: Mapping[int, int]) -> Iterator[Edge]:
    at = {node.index: node for node in nodes}
    for node in nodes:
        for index in sources[node.index]:
            if depth[index] // COLUMNS == depth[node.index] // COLUMNS:
                yield Edge(column=at[index].column, row=at[index].row, to_column=node.column, to_row=node.row)


def _precision(op: Op, graph: Graph) -> str:
    made = graph.tensors[op.outputs[0]] if op.outputs else None
    if made is None:
        return "other"
    constants = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].is_constant]
    if made.dtype in ("int8", "uint8"):
        return "int8"
    if made.dtype == "int16":
        return "int16"
    if made.dtype == "float32" and any(tensor.dtype == "int8" for tensor in constants):
        return "int8 weights, float"
    if made.dtype in ("float16", "float32"):
        return "float16 weights, float" if any(tensor.dtype == "float16" for tensor in constants) else "float32"
    return "other"


def _in_a_row(name: str, ops: list[tuple[int, str, str, float | None]], prediction: Prediction | None) -> NetworkMap:
    mapped = {index: (done, reason) for index, _, done, reason in prediction.ops} if prediction else {}
    nodes = tuple(
        Node(
            index=index,
            op=op,
            tensor=tensor,
            column=place % COLUMNS,
            row=2 * (place // COLUMNS),
            family=_ROW_OF_OPERATIONS.get(op, "other"),
            precision=None,
            sqnr_db=sqnr_db,
            mapped=mapped.get(index, (None, None))[0],
            reason=mapped.get(index, (None, None))[1],
        )
        for place, (index, op, tensor, sqnr_db) in enumerate(ops)
    )
    rows = 2 * (1 + (len(nodes) - 1) // COLUMNS)
    return NetworkMap(
        variant=name, nodes=nodes, edges=(), rows=rows, place=None if prediction is None else prediction.origin.place
    )
