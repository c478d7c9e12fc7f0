"""``edgekit inspect FILE``: what is inside a ``.tflite``. Needs no interpreter."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import output_flags

if TYPE_CHECKING:
    from ..artefact.container import Container
    from ..artefact.contract import Contract
    from ..artefact.graph import Tensor

_FLOAT_OPS_SHOWN = 8

_EXAMPLES = """\
examples:
  edgekit inspect flowers.int8.tflite
  edgekit inspect somebody-elses.tflite --json -
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what is inside a .tflite",
        description="Show ops, float islands, inputs, outputs, contract, sizes and multiply-accumulates. Needs no interpreter.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, check and describe the file."""
    from ..artefact import container

    report = describe(container.read(args.file))
    output_flags.emit(args, report, _text(report))
    return 0


def describe(source: Container) -> dict[str, Any]:
    """Return everything worth knowing about a file as plain data."""
    from ..artefact import graph_facts

    graph = source.graph
    return {
        "file": str(source.path),
        "bytes": source.file_bytes,
        "flatbuffer_bytes": source.flatbuffer_bytes,
        "weights_bytes": sum({tensor.buffer: tensor.buffer_bytes for tensor in graph.tensors}.values()),
        "sha256": source.sha256,
        "model_sha256": source.model_sha256,
        "arithmetic": graph_facts.arithmetic(graph),
        "macs": graph_facts.macs(graph),
        "ops": graph_facts.op_counts(graph),
        "op_versions": graph_facts.op_versions(graph),
        "custom_ops": sorted({op.name for op in graph.ops if op.is_custom}),
        "float_ops": [{"index": op.index, "op": op.name} for op in graph_facts.float_ops(graph)],
        "inputs": [_tensor(graph.tensors[i]) for i in graph.main.inputs],
        "outputs": [_tensor(graph.tensors[i]) for i in graph.main.outputs],
        "subgraphs": len(graph.subgraphs),
        "metadata": sorted(graph.metadata),
        "packed_files": {name: len(data) for name, data in source.members.items()},
        "contract": None if source.contract is None else _contract(source.contract),
        "fed": None if source.contract is not None else _fed(source),
        "misfit": None if source.contract is None else _misfit(source),
    }


def _misfit(source: Container) -> str | None:
    """Return what speaks against the recipe of a contract, where it cannot be meant like that."""
    from ..runtime import foreign

    fed = foreign.feed(source)
    return fed.doubt if fed.misfit else None


def _fed(source: Container) -> str:
    """Return how a model without a contract is fed, or why that is not known."""
    from ..errors import EdgeError
    from ..runtime import foreign

    try:
        return foreign.feed(source).to_text()
    except EdgeError as error:
        return f"not known: {str(error).removeprefix(f'{source.path}: ')}"


def _contract(contract: Contract) -> dict[str, Any]:
    """Return the contract with its long lists as counts."""
    plain = contract.to_dict()
    plain["golden"] = [
        {"pattern": s.pattern, "runtimes": [f"{o.runtime} {o.version} {o.kernels} {o.machine}" for o in s.outputs]}
        for s in contract.golden
    ]
    plain["quantization"]["representative"] = len(contract.quantization.representative)
    return plain


def _tensor(tensor: Tensor) -> dict[str, Any]:
    quant = None
    if tensor.quant is not None:
        quant = {"scale": tensor.quant.scale.tolist(), "zero_point": tensor.quant.zero_point.tolist()}
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "quantization": quant}


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{report['file']}: {report['bytes'] / 1e6:.1f} MB, {report['arithmetic']} arithmetic,"
        f" {report['macs'] / 1e6:,.0f} million multiply-accumulates",
        f"  sha256  {report['sha256']}",
    ]
    for kind in ("inputs", "outputs"):
        lines += [f"  {kind[:-1]:7} {_tensor_text(tensor)}" for tensor in report[kind]]
    total = sum(report["ops"].values())
    lines.append(f"  ops     {total}: " + ", ".join(f"{count} {name}" for name, count in report["ops"].items()))
    islands = report["float_ops"]
    if report["arithmetic"] == "integer":
        lines.append("  float   none between input and output")
    elif len(islands) < total:
        shown = ", ".join(f"{op['op']} #{op['index']}" for op in islands[:_FLOAT_OPS_SHOWN])
        more = f", and {len(islands) - _FLOAT_OPS_SHOWN} more" if len(islands) > _FLOAT_OPS_SHOWN else ""
        lines.append(f"  float   {len(islands)} of {total} ops: {shown}{more}")
    else:
        lines.append("  float   all ops")
    packed = ", ".join(f"{name} ({size} bytes)" for name, size in report["packed_files"].items())
    lines.append(f"  packed  {packed or 'nothing'}")
    if report["contract"] is None:
        return "\n".join([*lines, "  contract none", f"    fed   {report['fed']}"])
    warning = [] if report["misfit"] is None else [f"    warning: it is probably fed wrongly: {report['misfit']}"]
    return "\n".join([*lines, *_contract_lines(report["contract"]), *warning])


def _tensor_text(tensor: dict[str, Any]) -> str:
    quant = tensor["quantization"]
    how = "" if quant is None else f", scale {quant['scale'][0]:.6g}, zero point {quant['zero_point'][0]}"
    return f"{tensor['name']}  {tensor['dtype']} {'x'.join(map(str, tensor['shape']))}{how}"


def _contract_lines(contract: dict[str, Any]) -> list[str]:
    fed, made, source = contract["input"], contract["quantization"], contract["source"]
    low = [(0 - m) / s for m, s in zip(fed["mean"], fed["scale"], strict=True)]
    high = [(255 - m) / s for m, s in zip(fed["mean"], fed["scale"], strict=True)]
    antialias = "" if fed["antialias"] else ", no antialias"
    lines = [
        f"  contract {contract['name']} (schema version {contract['schema_version']}, by {contract['written_by'] or 'unknown'})",
    ]
    frames = fed.get("frames", 1)
    if frames:
        stacked = "" if frames == 1 else f"{frames} frames of "
        lines.append(
            f"    fed   {stacked}{fed['width']}x{fed['height']} {fed['color']}, {fed['fit']}, {fed['resample']}{antialias},"
            f" crop {fed['crop_fraction']:g}, values {min(low):g} to {max(high):g}"
        )
    for extra in contract.get("extra_inputs", ()):
        shape = "x".join(map(str, extra["shape"]))
        lines.append(f"    fed   {extra['name']} ({shape}){': ' if extra['meaning'] else ''}{extra['meaning']}")
    for output in contract["outputs"]:
        background = "" if output["background_index"] is None else f", background class {output['background_index']}"
        lines.append(f"    gives {output['name']}: {output['kind']}, {len(output['labels'])} labels{background}")
    lines.append(
        f"    made  {made['variant']} ({made['scheme']}), ranges {made['ranges'] or 'none'} from {made['representative']} images"
    )
    lines.append(f"    from  {source['file'] or 'unknown'} ({source['architecture'] or 'unknown architecture'})")
    for before in contract.get("lineage", ()):
        gone = f"{len(before['blocks'])} blocks are gone, {len(before['channels'])} convolutions are narrower"
        lines.append(
            f"    was   {before['file'] or 'unknown'} (SHA-256 {before['sha256'][:12] or 'unknown'},"
            f" {before['width']}x{before['height']}): {gone}"
        )
    if contract["golden"]:
        runtimes = ", ".join(contract["golden"][0]["runtimes"])
        lines.append(f"    golden {len(contract['golden'])} samples, recorded on {runtimes}")
    return lines + [f"    note  {note}" for note in contract["notes"]]
