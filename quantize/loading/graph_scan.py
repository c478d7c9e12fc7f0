"""Look through a SavedModel before TensorFlow loads it: no op may touch files, run Python or reach outside the network.

Loading a SavedModel runs graph functions (initializers, restore functions), so everything in it is checked, not only what the
serving signature reaches. The one exception: a SavedModel carries functions that save and restore its own variables. They may
hold save and restore ops as long as nothing else reaches them; edgekit never calls them.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import LoadError, UnsafeModelError
from .graph_view import GraphView

_SAVERS = frozenset(
    {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "Save", "SaveSlices", "Restore", "RestoreSlice", "ShardedFilename"}
)
_CODE = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# Ops with side effects or state that belong to networks. Everything else that TensorFlow marks as stateful is refused.
_STATEFUL_ALLOWED = frozenset(
    """
    VarHandleOp _VarHandlesOp ReadVariableOp _ReadVariablesOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp
    VarIsInitializedOp VariableShape Variable VariableV2 DestroyResourceOp DisableCopyOnRead MakeWeakResourceHandle
    ResourceGather ResourceGatherNd ResourceStridedSliceAssign GuaranteeConst DeepCopy Empty TemporaryVariable
    StatefulPartitionedCall If While Case _If _While _Arg _Retval Assert CheckNumerics CheckNumericsV2 DeviceIndex
    RandomUniform RandomUniformInt RandomStandardNormal RandomShuffle TruncatedNormal ParameterizedTruncatedNormal Multinomial
    RandomGamma RandomPoisson RandomPoissonV2 StatelessRandomGetAlg RngReadAndSkip RngSkip NonDeterministicInts
    StatefulStandardNormalV2 StatefulUniform StatefulUniformInt StatefulUniformFullInt StatefulTruncatedNormal
    SampleDistortedBoundingBox SampleDistortedBoundingBoxV2
    TensorArray TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArrayConcatV3 TensorArraySplitV3 TensorArrayCloseV3 StackV2 StackPushV2 StackPopV2 StackCloseV2
    CudnnRNN CudnnRNNV2 CudnnRNNV3 CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3
    """.split()  # noqa: SIM905 - a hundred quoted names would hide what is in the list
)
# Stateless ops (so TensorFlow says) that read or write files all the same, or talk to a debugger or another runtime.
_STATELESS_REFUSED = re.compile(
    r".*File.*|ImmutableConst|.*Dataset.*|Reader.*|Debug.*|PyFunc.*|.*Vocab.*|EncodeProto|DecodeProto.*|.*Iterator.*"
    r"|XlaCustomCall.*|TPU.*|Copy|CopyHost|.*Summary.*|CustomAggregator|HostConst"
)
_LOOKUP = re.compile(r"LookupTable.*|HashTable.*|MutableHashTable.*|MutableDenseHashTable.*|AnonymousHashTable|InitializeTable.*")
_STRINGS = re.compile(
    r"String.*|StaticRegex.*|Regex.*|Unicode.*|Decode(?:Jpeg|Png|Gif|Bmp|Image|WebP|Jxl|Raw|Base64|CSV|Wav|AndCropJpeg)"
    r"|Parse.*Example.*|AsString|EncodeJpeg|EncodePng|ReduceJoin"
)
_RANDOM = re.compile(
    r"Random(?!Crop).*|StatelessRandom(?!Get).*|StatelessTruncatedNormal.*|TruncatedNormal|Stateful(?:Uniform|StandardN|Trunc).*"
)


def scan(meta_graph: Any, *, where: str, op_stateful: dict[str, bool]) -> GraphView:
    """Check every op in a MetaGraphDef and return a view of its graph.

    op_stateful: every op of the installed TensorFlow, and whether it is stateful.
    Raises UnsafeModelError naming op, node and function; LoadError for ops that no TFLite interpreter could run anyway.
    """
    view = GraphView.of(meta_graph.graph_def)
    savers = _savers(meta_graph, view)
    served = _served(meta_graph, view)
    for name, node in view.main.items():
        # Saving and restoring in the main graph itself (TensorFlow 1) is never excused: the loader would run it.
        _check(node, f"node {name!r}", allow_saver=False, where=where, view=view, op_stateful=op_stateful)
    for function in view.functions:
        for node in view.functions[function].node_def:
            place = f"node {node.name!r} of function {function!r}"
            alone = function in savers and function not in served
            _check(node, place, allow_saver=alone, where=where, view=view, op_stateful=op_stateful)
    return view


def string_op(view: GraphView, outputs: list[str]) -> str | None:
    """Return the name of a string op that the given output tensors depend on, or None."""
    return _served_op(view, outputs, _STRINGS)


def random_op(view: GraphView, outputs: list[str]) -> str | None:
    """Return the name of an op that draws random numbers for the given output tensors, or None."""
    return _served_op(view, outputs, _RANDOM)


def _served_op(view: GraphView, outputs: list[str], pattern: re.Pattern[str]) -> str | None:
    functions = view.closure(view.upstream(outputs))
    nodes = [*view.upstream(outputs), *(node for name in sorted(functions) for node in view.functions[name].node_def)]
    return next((str(node.op) for node in nodes if pattern.fullmatch(node.op)), None)


def _check(node: Any, place: str, *, allow_saver: bool, where: str, view: GraphView, op_stateful: dict[str, bool]) -> None:
    op = str(node.op)
    if op in view.functions or (op in _SAVERS and allow_saver):
        return
    if op in _CODE:
        raise UnsafeModelError(f"{where}: {place} is {op}: it runs Python code; export the model without tf.py_function")
    if _LOOKUP.fullmatch(op):
        raise LoadError(f"{where}: {place} is {op}: lookup tables cannot run as built-in TFLite ops; export without them")
    if op not in op_stateful:
        raise LoadError(f"{where}: {place} is {op!r}, a custom op that TensorFlow does not have; export with built-in ops")
    refused = op not in _STATEFUL_ALLOWED if op_stateful[op] else _STATELESS_REFUSED.fullmatch(op) is not None
    if refused or op in _SAVERS:
        raise UnsafeModelError(
            f"{where}: {place} is {op}: it can touch files or reach outside the network, so nothing was loaded;"
            " export only the inference function, as model.export(DIR) does"
        )


def _savers(meta_graph: Any, view: GraphView) -> set[str]:
    """Return the functions that save and restore the model's own variables."""
    saver = meta_graph.saver_def
    names = [name for name in (saver.save_tensor_name, saver.restore_op_name) if name]
    return view.closure(view.upstream(names))


def _served(meta_graph: Any, view: GraphView) -> set[str]:
    """Return every function that the signatures or the stored objects can call."""
    tensors = [info.name for signature in meta_graph.signature_def.values() for info in signature.outputs.values()]
    names = view.closure(view.upstream(tensors))
    roots: set[str] = set()
    for stored in meta_graph.object_graph_def.nodes:
        roots.update(stored.function.concrete_functions)
        if stored.bare_concrete_function.concrete_function_name:
            roots.add(stored.bare_concrete_function.concrete_function_name)
    return names | view.reach(roots)
