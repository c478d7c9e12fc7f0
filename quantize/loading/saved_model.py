"""SavedModel directories: scanned as stored data, then loaded for their serving signature."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import tf_private
from ..errors import LoadError, UnsafeModelError, first_line
from ..quiet import import_tensorflow, quiet
from .architecture import recognise
from .graph_scan import random_op, scan, string_op
from .graph_view import GraphView
from .io_specs import FoundOutput

GRAPH_FILE = "saved_model.pb"
SIGNATURE = "serving_default"
MAX_GRAPH_BYTES = (2 << 30) - 1  # what a protocol buffer can hold

_ENDINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "BiasAdd": "linear", "MatMul": "linear"}
_MAP_OPS = frozenset(
    {"Mean", "Max", "MaxPool", "AvgPool", "Relu", "Relu6", "Conv2D", "FusedBatchNormV3", "ConcatV2", "LeakyRelu"}
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedSavedModel:
    """``module`` owns the variables, ``signature`` is its serving function with one input named ``input_name``."""

    module: Any
    signature: Any
    input_name: str
    input_shape: tuple[int, int, int]
    outputs: tuple[FoundOutput, ...]
    architecture: str
    tensorflow_version: str

    def call(self, tensor: Any) -> Mapping[str, Any]:
        """Return ``{output name: tensor}``."""
        answers = self.signature(**{self.input_name: tensor})
        return {output.name: answers[output.name] for output in self.outputs}


def load_directory(path: Path, *, input_shape: tuple[int, int, int] | None, where: str) -> LoadedSavedModel:
    """Scan and load a SavedModel directory. Raises LoadError or UnsafeModelError before anything in it was run."""
    tf = import_tensorflow()
    _check_files(path, where=where)
    meta_graph = _read(path, where=where)
    view = scan(meta_graph, where=where, op_stateful=installed_ops())
    if SIGNATURE not in meta_graph.signature_def:
        found = ", ".join(sorted(n for n in meta_graph.signature_def if not n.startswith("__"))) or "none"
        raise LoadError(f"{where}: has no signature {SIGNATURE!r} (it has {found}); save it with model.export(DIR)")
    signature = meta_graph.signature_def[SIGNATURE]
    name, shape = _input(signature, view, input_shape, where=where)
    outputs = tuple(_output(key, signature.outputs[key], view) for key in sorted(signature.outputs))
    with quiet():
        try:
            module = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises many types for a directory that it cannot restore
            raise LoadError(f"{where}: TensorFlow {tf.__version__} cannot load it: {first_line(error)}") from error
    return LoadedSavedModel(
        module=module,
        signature=module.signatures[SIGNATURE],
        input_name=name,
        input_shape=shape,
        outputs=outputs,
        architecture=recognise(node.name for body in (view.main, *map(view.body, view.functions)) for node in body.values()),
        tensorflow_version=str(meta_graph.meta_info_def.tensorflow_version),
    )


def _check_files(path: Path, *, where: str) -> None:
    boundary = path.resolve()
    for folder, folders, files in os.walk(path):
        for entry in (*folders, *files):
            item = Path(folder) / entry
            if item.is_symlink() and not item.resolve().is_relative_to(boundary):
                raise UnsafeModelError(f"{where}: {item.relative_to(path)} is a symbolic link that leads out of the directory")


def _read(path: Path, *, where: str) -> Any:
    import_tensorflow()
    from google.protobuf.message import DecodeError

    file = path / GRAPH_FILE
    size = file.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise LoadError(f"{where}: {GRAPH_FILE} has {size:,} bytes, more than a graph can have")
    stored = tf_private.get("saved_model_pb2").SavedModel()
    try:
        stored.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise LoadError(f"{where}: {GRAPH_FILE} is damaged, {size:,} bytes; copy or export the model again") from error
    if len(stored.meta_graphs) != 1 or not stored.meta_graphs[0].object_graph_def.nodes:
        raise LoadError(
            f"{where}: {GRAPH_FILE} ({size:,} bytes) holds {len(stored.meta_graphs)} graphs without TensorFlow 2's objects:"
            " a TensorFlow 1 SavedModel, or none; save it again with TensorFlow 2"
        )
    return stored.meta_graphs[0]


def installed_ops() -> dict[str, bool]:
    """Return every op that this TensorFlow has, and whether it is stateful."""
    import_tensorflow()
    ops = tf_private.get("op_def_pb2").OpList()
    ops.ParseFromString(tf_private.get("TF_GetBuffer")(tf_private.get("TF_GetAllOpList")()))
    return {op.name: op.is_stateful for op in ops.op}


def _input(
    signature: Any, view: GraphView, asked: tuple[int, int, int] | None, *, where: str
) -> tuple[str, tuple[int, int, int]]:
    """Return name and (height, width, channels) of the signature's only input."""
    tf = import_tensorflow()
    if len(signature.inputs) != 1:
        names = ", ".join(sorted(signature.inputs))
        raise LoadError(f"{where}: signature {SIGNATURE!r} has {len(signature.inputs)} inputs ({names}), expected one image")
    ((name, info),) = signature.inputs.items()
    dtype = tf.dtypes.as_dtype(info.dtype).name
    outputs = [output.name for output in signature.outputs.values()]
    strings = string_op(view, outputs)
    if dtype == "string" or strings is not None:
        what = f"text or encoded pictures ({strings or 'a string input'})"
        raise LoadError(f"{where}: its network works on {what}, which no built-in TFLite op can; export it from pixels on")
    chance = random_op(view, outputs)
    if chance is not None:
        # Keras 3 exports augmentation layers as they work in training.
        raise LoadError(
            f"{where}: its serving function draws random numbers ({chance}): augmentation or dropout was exported in training"
            " mode, so that it answers differently each time; give the .keras file, or export without those layers"
        )
    if dtype != "float32":
        raise LoadError(
            f"{where}: input {name!r} is {dtype}, expected float32 pixels; give the .keras file, or export it with a float32 input"
        )
    shape = [size.size if size.size >= 0 else None for size in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank or len(shape) != 4:
        raise LoadError(f"{where}: input {name!r} has shape {shape}, expected (batch, height, width, channels)")
    if shape[0] not in (None, 1):
        raise LoadError(
            f"{where}: input {name!r} takes exactly {shape[0]} images at a time, a board gives one; export with batch None"
        )
    fixed = []
    for position, axis in enumerate(("height", "width", "channels")):
        size, wanted = shape[position + 1], asked[position] if asked else None
        if size is None and wanted is None:
            raise LoadError(
                f"{where}: input {name!r} leaves its {axis} open; a board needs a fixed one: give --input-shape HEIGHTxWIDTH"
            )
        if size is not None and wanted is not None and size != wanted:
            raise LoadError(f"{where}: input {name!r} has {axis} {size}, {wanted} was asked for; a SavedModel cannot be resized")
        fixed.append(size if size is not None else wanted)
    height, width, channels = (int(value or 0) for value in fixed)
    return name, (height, width, channels)


def _output(name: str, info: Any, view: GraphView) -> FoundOutput:
    shape = tuple(size.size if size.size >= 0 else None for size in info.tensor_shape.dim)[1:]
    found = view.producer(info.name)
    op = str(found[0].op) if found else ""
    if found and op in ("AddV2", "Add"):  # some versions write a dense layer's bias like that
        before = view.producer(found[0].input[0], found[1])
        op = "MatMul" if before and before[0].op == "MatMul" else op
    if found and op == "BiasAdd":
        before = view.producer(found[0].input[0], found[1])
        op = "Conv2D" if before and before[0].op == "Conv2D" else op
    ending = _ENDINGS.get(op, "features" if op in _MAP_OPS else "other")
    return FoundOutput(name=name, shape=shape, ending=ending if len(shape) == 1 else "features")
