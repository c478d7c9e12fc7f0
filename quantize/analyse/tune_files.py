"""What `quantize.analyse.tune` starts from and ends in: the flatbuffers of a source, and the finished artefact.

Making the flatbuffers takes longer than some searches, so that those of the last network are kept for a run that goes on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge.artefact.contract import Quantization
from edge.files import atomic_write
from edge.progress import stage
from edge.validation.journal import cache_folder, key
from edge.version import __version__

from .. import ptq
from ..calibrate import auto_ranges
from ..tflite import conversion

if TYPE_CHECKING:
    from ..calibrate.representative import RepresentativeDataset
    from ..loading.source import Source
    from .tune import Candidate


_KEPT = ".prepared.tflite"


def int8_and_float(source: Source, representative: RepresentativeDataset, *, folder: Path | None = None) -> tuple[bytes, bytes]:
    """Return the float32 and the full-int8 flatbuffer of ``source``, made as ``edgekit quantize`` makes it, with float32 I/O.

    folder: where those of the last network are kept (default: edgekit's cache); a network that came from no file is made anew.
    """
    folder = folder or cache_folder()
    name = _name(source, representative)
    kept = tuple(folder / f"{name}.{variant}{_KEPT}" for variant in ("float32", "int8"))
    if name and all(path.exists() for path in kept):
        return kept[0].read_bytes(), kept[1].read_bytes()
    made = _made(source, representative)
    if name:
        for old in folder.glob(f"*{_KEPT}"):
            old.unlink(missing_ok=True)
        for path, flatbuffer in zip(kept, made, strict=True):
            atomic_write(path, flatbuffer)
    return made


def _made(source: Source, representative: RepresentativeDataset) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as directory:
        with stage("convert to float32"):
            conversion.export_saved_model(source, Path(directory))
            reference = conversion.convert_float(Path(directory), "float32")
        with stage("calibrate"):
            calibrated = conversion.calibrate(reference, representative.tensors())
    return reference, ptq.int8(source, reference, calibrated, representative, ptq.PtqConfig(io="float32")).flatbuffer


def _name(source: Source, representative: RepresentativeDataset) -> str:
    """Return what tells the pair from any other, or "" where the network's bytes are not known."""
    if not source.contract.source.sha256:
        return ""
    return key("prepared 2", __version__, source.contract.to_dict(), representative.identities)[:32]


def finished(source: Source, representative: RepresentativeDataset, chosen: Candidate, flatbuffer: bytes) -> bytes:
    """Return the whole artefact: metadata, contract, golden samples."""
    in_float = "; ".join(block.title for block in chosen.in_float)
    scheme = f"{ptq.SCHEMES['int8']}; in float: {in_float}" if in_float else ptq.SCHEMES["int8"]
    quantization = Quantization(
        variant="tuned",
        scheme=ptq.SCHEMES["int16x8"] if chosen.name == "int16x8" else scheme,
        per_channel=True,
        ranges="minmax" if ptq.needs_converter_ranges(source, ptq.PtqConfig()) else auto_ranges.AUTO,
        io="float32",
        seed=representative.seed,
        representative=representative.identities,
    )
    contract = source.contract.replace(name=source.name, quantization=quantization, written_by=f"edgekit {__version__}")
    return ptq.complete(ptq.assemble(flatbuffer, contract), contract)[0]
