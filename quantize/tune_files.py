"""What `quantize.tune` starts from and ends in: the flatbuffers of a source, and the finished artefact."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge.contract import Quantization
from edge.progress import stage
from edge.version import __version__

from . import auto_ranges, conversion, ptq

if TYPE_CHECKING:
    from .representative import RepresentativeDataset
    from .source import Source
    from .tune import Candidate


def int8_and_float(source: Source, representative: RepresentativeDataset) -> tuple[bytes, bytes]:
    """Return the float32 and the full-int8 flatbuffer of ``source``, made as ``edgekit quantize`` makes it, with float32 I/O."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as directory:
        with stage("convert to float32"):
            conversion.export_saved_model(source, Path(directory))
            reference = conversion.convert_float(Path(directory), "float32")
        with stage("calibrate"):
            calibrated = conversion.calibrate(reference, representative.tensors())
    made = ptq.full_int8(source, reference, calibrated, representative, ptq.PtqConfig(io="float32"))
    return reference, made.flatbuffer


def finished(source: Source, representative: RepresentativeDataset, chosen: Candidate, flatbuffer: bytes) -> bytes:
    """Return the whole artefact: metadata, contract, golden samples."""
    scheme = f"{ptq.SCHEMES['int8']}; in float: {', '.join(chosen.in_float)}" if chosen.in_float else ptq.SCHEMES["int8"]
    quantization = Quantization(
        variant="tuned",
        scheme=ptq.SCHEMES["int16x8"] if chosen.name == "int16x8" else scheme,
        per_channel=True,
        ranges=auto_ranges.AUTO,
        io="float32",
        seed=representative.seed,
        representative=representative.identities,
    )
    contract = source.contract.replace(name=source.name, quantization=quantization, written_by=f"edgekit {__version__}")
    return ptq.complete(ptq.assemble(flatbuffer, contract), contract)[0]
