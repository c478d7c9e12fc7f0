"""TF-slim's files as stored data: frozen graphs, meta graphs and checkpoints of TensorFlow 1. Nothing in them is run here.

A graph is cut down to what its output needs before anything looks at it, and variables become constants from the checkpoint; what
is left is scanned for ops that could do harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import tf_private
from ...errors import LoadError, UnsafeModelError, first_line
from ...quiet import import_tensorflow, quiet
from ..graph_scan import scan
from ..graph_view import GraphView
from ..saved_model import GRAPH_FILE, MAX_GRAPH_BYTES, installed_ops

FROZEN_GRAPH, META_GRAPH, CHECKPOINT = "frozen_graph", "meta_graph", "checkpoint"

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a table file: checkpoints of version 1, and .index files
_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_CODE = re.compile(r".*PyFunc.*")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stored:
    """What a file holds. ``graph``: a GraphDef of constants that ends in the output, or None for a bare checkpoint, whose
    ``variables`` map names to arrays. ``files``: all that was read. ``notes``: what was left out.
    """

    form: str
    graph: Any
    variables: Mapping[str, np.ndarray]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def recognises(path: Path) -> bool:
    """Whether ``path`` is a GraphDef, a MetaGraphDef or a checkpoint (also by the prefix that TensorFlow calls it by)."""
    if path.is_dir() or path.name == GRAPH_FILE:
        return False
    if not path.exists():
        return _beside(path, ".index").is_file()
    if _PART.search(path.name):
        return True
    try:
        return _is_table(path) or _begins_with_a_message(path)
    except OSError:
        return False


def check_there(path: Path, *, where: str) -> None:
    """Raise LoadError where neither a file nor the checkpoint of that prefix is there."""
    if not path.is_file():
        _check_checkpoint(_prefix(path), where=where)


def read(path: Path, *, output: str, input_node: str, checkpoint: Path | None, where: str) -> Stored:
    """Read the network that ends in node ``output`` and begins with ``input_node``.

    checkpoint: where a meta graph's variables are; by default beside it under the same name.
    Raises LoadError for files that are damaged, incomplete or something else, UnsafeModelError for ops that could do harm.
    """
    import_tensorflow()
    if path.is_file() and not _is_table(path) and not re.search(r"\.(index|data-\d{5}-of-\d{5})$", path.name):
        graph, is_meta = _parse(path, where=where)
        if not is_meta:
            return _frozen(graph, path, output, input_node, where=where)
        return _meta(graph, path, checkpoint or _prefix(path), output, input_node, where=where)
    prefix = _prefix(path)
    meta = _beside(prefix, ".meta")
    variables = _variables(prefix, where=where)
    files = _checkpoint_files(prefix)
    if not meta.is_file():
        note = "a checkpoint without its graph (.meta): there is nothing to compare the network's answers with"
        return Stored(form=CHECKPOINT, graph=None, variables=variables, files=files, notes=(note,))
    graph, _ = _parse(meta, where=str(meta))
    if not any(node.name == output for node in graph.node):
        note = f"{meta.name} has no node {output!r}: there is nothing to compare the network's answers with"
        return Stored(form=CHECKPOINT, graph=None, variables=variables, files=files, notes=(note,))
    try:
        stored = _meta(graph, meta, prefix, output, input_node, where=str(meta))
    except _TrainingGraphError:
        note = f"{meta.name} is a training graph: there is nothing to compare the network's answers with"
        return Stored(form=CHECKPOINT, graph=None, variables=variables, files=files, notes=(note,))
    return Stored(form=CHECKPOINT, graph=stored.graph, variables={}, files=(*files, meta), notes=stored.notes)


def _frozen(graph: Any, path: Path, output: str, input_node: str, *, where: str) -> Stored:
    _scan(graph, where=where)  # all of it: a frozen graph is an inference graph, and has nothing else to do
    left = [node.name for node in graph.node if node.op in _VARIABLES]
    if left:
        raise LoadError(
            f"{where}: is not frozen: {len(left)} variables ({left[0]} ...) are not in it; give the .meta file or the checkpoint"
        )
    return Stored(form=FROZEN_GRAPH, graph=_pruned(graph, output, input_node, where=where), variables={}, files=(path,))


def _meta(graph: Any, path: Path, prefix: Path, output: str, input_node: str, *, where: str) -> Stored:
    for node in graph.node:
        if _CODE.fullmatch(node.op):
            raise UnsafeModelError(
                f"{where}: node {node.name!r} is {node.op}: it runs Python code; export the inference graph alone"
            )
    pruned = _pruned(graph, output, input_node, where=where)
    if not _checkpoint_files(prefix):
        raise LoadError(
            f"{where}: a meta graph has no weights in it, and its checkpoint {prefix} is not there; name it with --checkpoint"
        )
    frozen = _freeze(pruned, _variables(prefix, where=str(prefix)), where=where)
    _scan(frozen, where=where)
    if any(node.op.startswith("FusedBatchNorm") and _trains(node) for node in frozen.node):
        raise _TrainingGraphError(
            f"{where}: a training graph: it normalises by each batch's own statistics, so its answers cannot be compared; give the"
            f" checkpoint instead ({prefix})"
        )
    left_out = len(graph.node) - len(frozen.node)
    notes = (f"{left_out:,} nodes of the meta graph that the output does not need were left out",) if left_out else ()
    return Stored(form=META_GRAPH, graph=frozen, variables={}, files=(path, *_checkpoint_files(prefix)), notes=notes)


def _parse(path: Path, *, where: str) -> tuple[Any, bool]:
    """Return the GraphDef of a file, and whether it was inside a MetaGraphDef."""
    from google.protobuf.message import DecodeError

    graph_pb2, meta_graph_pb2 = tf_private.get("graph_pb2"), tf_private.get("meta_graph_pb2")
    size = path.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise LoadError(f"{where}: has {size:,} bytes, more than a graph can have")
    data = path.read_bytes()
    for kind, is_meta in ((graph_pb2.GraphDef, False), (meta_graph_pb2.MetaGraphDef, True)):
        message = kind()
        try:
            message.ParseFromString(data)
        except DecodeError:
            continue
        graph = message.graph_def if is_meta else message
        if graph.node and all(node.name and node.op for node in graph.node):
            return graph, is_meta
    raise LoadError(f"{where}: neither a frozen graph nor a meta graph, or cut off ({size:,} bytes); copy or download it again")


def _scan(graph: Any, *, where: str) -> None:
    scan(tf_private.get("meta_graph_pb2").MetaGraphDef(graph_def=graph), where=where, op_stateful=installed_ops())


def _pruned(graph: Any, output: str, input_node: str, *, where: str) -> Any:
    """Return the nodes between input and output, in a new graph that begins with a placeholder. Control inputs are left out."""
    tf = import_tensorflow()
    view = GraphView.of(graph)
    if output not in view.main:
        raise LoadError(f"{where}: has no node {output!r}; {_nodes_like(view, output)}")
    pruned = type(graph)()
    pruned.versions.CopyFrom(graph.versions)
    pruned.library.CopyFrom(graph.library)
    pending, seen = [output], {output}
    while pending:
        node = view.main[pending.pop()]
        kept = pruned.node.add()
        if node.name == input_node:
            kept.name, kept.op = node.name, "Placeholder"
            kept.attr["dtype"].type = tf.float32.as_datatype_enum
            kept.attr["shape"].CopyFrom(node.attr["shape"])
            continue
        kept.CopyFrom(node)
        kept.ClearField("input")
        kept.ClearField("device")
        kept.input.extend(tensor for tensor in node.input if not tensor.startswith("^"))
        for tensor in kept.input:
            source = tensor.split(":")[0]
            if source not in view.main:
                raise LoadError(
                    f"{where}: node {node.name!r} reads {source!r}, which is not in the graph; copy or export it again"
                )
            if source not in seen:
                seen.add(source)
                pending.append(source)
    if input_node not in seen:
        begins = sorted(n.name for n in pruned.node if not n.input and n.op not in {"Const", *_VARIABLES})
        first = ", ".join(begins[:5]) or "constants"
        raise LoadError(
            f"{where}: {output!r} does not depend on a node {input_node!r}; it begins with {first}; name it with --input"
        )
    return pruned


def _trains(node: Any) -> bool:
    return "is_training" not in node.attr or bool(node.attr["is_training"].b)  # left out, it is true


def _freeze(graph: Any, variables: Mapping[str, np.ndarray], *, where: str) -> Any:
    """Return ``graph`` with the variables' values in it as constants."""
    tf = import_tensorflow()
    for node in graph.node:
        if node.op in _VARIABLES:
            if node.name not in variables:
                raise LoadError(f"{where}: variable {node.name!r} is not in the checkpoint; they do not belong together")
            value = variables[node.name]
            stored = node.attr["shape"].shape
            shape = tuple(size.size for size in stored.dim)
            if not stored.unknown_rank and shape != value.shape:
                raise LoadError(
                    f"{where}: variable {node.name!r} is {shape}, in the checkpoint {value.shape}; they do not belong together"
                )
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        elif node.op == "ReadVariableOp":
            kind = node.attr["dtype"].type
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = kind
    return graph


def _variables(prefix: Path, *, where: str) -> dict[str, np.ndarray]:
    tf = import_tensorflow()
    _check_checkpoint(prefix, where=where)
    with quiet():
        try:
            reader = tf.train.load_checkpoint(str(prefix))
            names = reader.get_variable_to_shape_map()
            return {name: np.asarray(reader.get_tensor(name)) for name in sorted(names) if not name.startswith("_CHECKPOINTABLE")}
        except Exception as error:  # TensorFlow raises many types for a damaged checkpoint
            raise LoadError(f"{where}: the checkpoint cannot be read ({first_line(error)}); copy or download it again") from error


def _check_checkpoint(prefix: Path, *, where: str) -> None:
    if not _checkpoint_files(prefix):
        raise LoadError(
            f"{where}: a checkpoint is PREFIX.index and PREFIX.data-..., and {prefix}.index is not there; copy all its files"
        )


def _checkpoint_files(prefix: Path) -> tuple[Path, ...]:
    """Return the files of a checkpoint: PREFIX alone (version 1), or PREFIX.index and its data."""
    if _beside(prefix, ".index").is_file():
        parts = (path for path in sorted(prefix.parent.iterdir()) if path.name.startswith(f"{prefix.name}.data-"))
        return (_beside(prefix, ".index"), *parts)
    return (prefix,) if prefix.is_file() else ()


def _prefix(path: Path) -> Path:
    return path.with_name(_PART.sub("", path.name))


def _beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_TABLE_MAGIC)))
        return file.read() == _TABLE_MAGIC


def _begins_with_a_message(path: Path) -> bool:
    """Whether the first field is a message that itself begins as a NodeDef (name, op) or a MetaInfoDef does."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[:1] != b"\n":
        return False
    body = head[1 + next((i for i, byte in enumerate(head[1:6], 1) if byte < 0x80), 5) :]
    if path.suffix == ".meta":
        return True
    if body[:1] != b"\n" or len(body) < 3 or body[1] >= 0x80:
        return False
    end = 2 + body[1]
    return body[2:end].isascii() and body[end : end + 1] == b"\x12"


def _nodes_like(view: GraphView, output: str) -> str:
    known = [name for name in _OUTPUTS if name in view.main and name != output]
    if known:
        return f"it has {' and '.join(known)}: name one with --output"
    ends = list(_ends(view))
    return f"it ends in {', '.join(ends[:4])}{' ...' if len(ends) > 4 else ''}; is it TF-slim's Inception-ResNet-v2?"


def _ends(view: GraphView) -> Iterator[str]:
    read_by_others = {tensor.removeprefix("^").split(":")[0] for node in view.main.values() for tensor in node.input}
    yield from (name for name in view.main if name not in read_by_others)


_OUTPUTS = (
    "InceptionResnetV2/AuxLogits/Logits/BiasAdd",
    "InceptionResnetV2/Logits/Logits/BiasAdd",
    "InceptionResnetV2/Logits/Predictions",
)


class _TrainingGraphError(LoadError):
    """The graph is one for training."""
