"""Post-training quantization: one trace, one float conversion and one calibration give all five variants."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.artefact import graph, graph_facts, marker
from edge.artefact.container import label_files, pack
from edge.artefact.contract import Contract, Quantization
from edge.files import atomic_write, sha256_bytes
from edge.progress import Progress, stage
from edge.runtime import golden, trust
from edge.version import __version__

from . import runtimes
from .calibrate import auto_ranges, refine, same_range
from .errors import CalibrationError, ConversionError
from .loading import recurrent
from .loading.io_specs import PICTURE
from .tflite import answers, conversion, metadata, quantizers
from .tflite import edit as flatbuffer_edit
from .tflite.calibrated import write_pixel_range
from .variants import CALIBRATED, VARIANTS, check_variants

if TYPE_CHECKING:
    from edge.runtime.model import Feed

    from .calibrate.representative import RepresentativeDataset
    from .loading.source import Source

_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}
SCHEMES = {
    "float32": "float32 weights and activations",
    "float16": "float16 weights, float32 activations",
    "dynamic": "int8 weights, activations quantized to int8 as they come",
    "int8": "int8 weights and activations, int32 biases",
    "int16x8": "int8 weights, int16 activations, int64 biases",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PtqConfig:
    """Options of post-training quantization.

    ``io``: type of input and outputs of the ``int8`` variant (``int8``, ``uint8`` or ``float32``); the others keep float32.
    ``per_channel``: one scale per output channel of a convolution, or one per tensor.
    ``ranges``: how the ``int8`` variant's ranges are set: ``auto`` chooses by measuring on representative images that are held out
    (see ``quantize.calibrate.auto_ranges``), ``converter`` gives what TFLiteConverter gives, the others are one method for all tensors.
    ``runtime``: name of the interpreter release that must be able to load the files (see ``quantize.runtimes``), or None.
    ``golden_samples``: how many synthetic inputs are answered here and packed for boards to replay.
    ``keep_float``: names of ops (``UNIDIRECTIONAL_SEQUENCE_LSTM``; ``lstm`` for short) that stay in float in the ``int8`` variant,
    with conversions around them; the ranges are then the converter's.
    ``quantizer``: what makes the ``int8`` variant, one of `quantize.tflite.quantizers`.
    """

    io: str = "int8"
    per_channel: bool = True
    ranges: str = auto_ranges.AUTO
    runtime: str | None = None
    golden_samples: int = 2
    keep_float: tuple[str, ...] = ()
    quantizer: str = quantizers.TENSORFLOW

    def __post_init__(self) -> None:
        if self.io not in conversion.IO_TYPES:
            raise ConversionError(f"io is {self.io!r}, expected one of {', '.join(conversion.IO_TYPES)}")
        if self.ranges not in auto_ranges.NAMES:
            raise ConversionError(f"ranges is {self.ranges!r}, expected one of {', '.join(auto_ranges.NAMES)}")
        if self.runtime is not None:
            runtimes.get(self.runtime)
        quantizers.check(self.quantizer, io=self.io, in_float=self.keep_float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A finished ``.tflite``: ``data`` is the whole file, ``contract`` what is packed in it, ``seconds`` what making it took."""

    name: str
    variant: str
    data: bytes
    contract: Contract
    seconds: float
    ops: dict[str, int]
    float_ops: int

    def __repr__(self) -> str:
        return f"<Artefact {self.filename}: {len(self.data) / 2**20:.1f} MiB, {self.float_ops} float ops>"

    @property
    def filename(self) -> str:
        return f"{self.name}.{self.variant}.tflite"

    def save(self, path: str | Path) -> Path:
        """Write the file (beside and renamed, so that no half of it is ever seen); a directory gets ``NAME.VARIANT.tflite``."""
        target = Path(path)
        if target.is_dir():
            target = target / self.filename
        atomic_write(target, self.data)
        return target

    def to_dict(self, file: Path) -> dict[str, Any]:
        """The entry of ``quantize --json``."""
        quantization = self.contract.quantization
        return {
            "name": self.variant,
            "file": str(file),
            "bytes": len(self.data),
            "seconds": round(self.seconds, 3),
            "scheme": quantization.scheme,
            "ranges": quantization.ranges,
            "float_ops": self.float_ops,
            "ops": self.ops,
        }


def post_training(
    source: Source,
    representative: RepresentativeDataset | None = None,
    variant: str = "int8",
    *,
    config: PtqConfig | None = None,
) -> Artefact:
    """Make one variant of ``source``. See ``post_training_variants``."""
    return next(post_training_variants(source, representative, (variant,), config=config))


def post_training_variants(
    source: Source,
    representative: RepresentativeDataset | None,
    variants: Sequence[str] = VARIANTS,
    *,
    config: PtqConfig | None = None,
) -> Iterator[Artefact]:
    """Make ``variants`` of ``source``, each yielded as soon as it is done so that it can be written and let go.

    representative: the images that set the ranges; needed for ``int8`` and ``int16x8`` only.
    Raises ConversionError (unknown variant, an op that TFLite or the targeted runtime does not have, a float tensor left in the
    int8 file) and CalibrationError (no representative images).
    """
    config = config or PtqConfig()
    check_variants(variants)
    wanted = [variant for variant in VARIANTS if variant in variants]
    if representative is None and any(variant in CALIBRATED for variant in wanted):
        raise CalibrationError(f"{', '.join(v for v in wanted if v in CALIBRATED)} need representative images; give --images DIR")
    return _variants(source, representative, wanted, config)


def _variants(
    source: Source, representative: RepresentativeDataset | None, wanted: Sequence[str], config: PtqConfig
) -> Iterator[Artefact]:
    directory = Path(tempfile.mkdtemp(prefix="edgekit-"))
    try:
        with stage("trace the network"):
            conversion.export_saved_model(source, directory)
        makers = _makers(source, directory, representative, config)
        for variant in wanted:
            started = time.monotonic()
            with stage(f"convert to {variant}"):
                made = makers[variant]()
            with stage(f"finish {variant}: metadata, contract, golden samples"):
                artefact = _finish(source, representative, variant, made, config, started)
            del made
            yield artefact
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A converted flatbuffer and how its ranges were set: the method, and what was chosen and won in a line each."""

    flatbuffer: bytes
    ranges: str = ""
    notes: tuple[str, ...] = ()


def _makers(
    source: Source, directory: Path, representative: RepresentativeDataset | None, config: PtqConfig
) -> dict[str, Callable[[], _Made]]:
    """One function for each variant; the float32 flatbuffer and its calibration are shared among them."""
    cache: dict[str, bytes] = {}

    def float32() -> bytes:
        if "float32" not in cache:
            converted = conversion.convert_float(directory, "float32")
            names = source.input_names
            cache["float32"] = converted if len(names) == 1 else flatbuffer_edit.order_inputs(converted, names)
        return cache["float32"]

    def calibrated() -> bytes:
        if "calibrated" not in cache:
            assert representative is not None
            cache["calibrated"] = conversion.calibrate(float32(), _with_progress(representative))
        return cache["calibrated"]

    def of_int8() -> _Made:
        assert representative is not None
        return int8(source, float32(), calibrated(), representative, config)

    def int16x8() -> _Made:
        base = calibrated()
        cache.pop("float32", None)  # the last variant: 217 MB that nobody needs any more
        return _Made(flatbuffer=conversion.quantize_int16x8(base), ranges="minmax")

    # Old interpreters have no per-channel fully connected kernel for dynamic ranges.
    per_channel_dense = config.runtime is None
    return {
        "float32": lambda: _Made(flatbuffer=float32()),
        "float16": lambda: _Made(flatbuffer=conversion.convert_float(directory, "float16")),
        "dynamic": lambda: _Made(flatbuffer=conversion.convert_float(directory, "dynamic", per_channel_dense=per_channel_dense)),
        "int8": of_int8,
        "int16x8": int16x8,
    }


def int8(source: Source, float32: bytes, calibrated: bytes, representative: RepresentativeDataset, config: PtqConfig) -> _Made:
    """The int8 variant of a float flatbuffer: ranges searched for where that is possible, else the converter's, with the reason."""
    plain = needs_converter_ranges(source, config)
    if config.ranges == auto_ranges.CONVERTER or plain:
        kept = quantizers.tensors_of(calibrated, config.keep_float)
        made = quantizer_of(config)(calibrated, io=config.io, in_float=kept)
        return _Made(flatbuffer=made, ranges="minmax", notes=(plain,) if plain else ())
    return full_int8(source, float32, calibrated, representative, config)


def full_int8(
    source: Source, float32: bytes, calibrated: bytes, representative: RepresentativeDataset, config: PtqConfig
) -> _Made:
    """Full int8 with ranges by method, and what can be won in the finished weights and biases where they are chosen by measuring."""
    kinds = output_kinds(source, float32)
    choice = auto_ranges.choose_ranges(
        float32,
        calibrated,
        representative.tensors,
        method=config.ranges,
        count=len(representative),
        kinds=kinds,
        quantize=quantizer_of(config),
    )
    ready = write_pixel_range(choice.calibrated, source.contract.input)
    flatbuffer = quantizer_of(config)(ready, io=config.io)
    notes = [choice.describe(), *(finding.message for finding in choice.findings)]
    if config.ranges == auto_ranges.AUTO:
        refinement = refine.refine(flatbuffer, float32, representative.tensors, kinds=kinds)
        flatbuffer = refinement.flatbuffer
        notes.append(refinement.describe())
    return _Made(flatbuffer=flatbuffer, ranges=choice.method, notes=tuple(notes))


def quantizer_of(config: PtqConfig) -> Callable[..., bytes]:
    """Return what makes int8 of a calibrated flatbuffer, by ``config``; takes ``io`` and ``in_float`` beside it."""

    def quantize(calibrated: bytes, *, io: str = "int8", in_float: Sequence[str] = ()) -> bytes:
        # TensorFlow's makes one scale of those that must be one, the other puts an op between them.
        ready = calibrated if config.quantizer == quantizers.TENSORFLOW else same_range.unified(calibrated)
        return quantizers.quantize_int8(ready, name=config.quantizer, io=io, per_channel=config.per_channel, in_float=in_float)

    return quantize


def needs_converter_ranges(source: Source, config: PtqConfig) -> str:
    """Return the sentence that says why no ranges are searched for, or "" where they are."""
    if config.keep_float:
        return f"ranges: the converter's, as {', '.join(config.keep_float)} stays in float"
    if source.model is not None and recurrent.layers(source.model) and config.ranges != auto_ranges.CONVERTER:
        return "ranges: the converter's, as the search does not know what a recurrent op holds inside"
    return ""


def output_kinds(source: Source, float32: bytes) -> list[str]:
    """The kinds of the outputs in the order of the converted file, which is not the model's."""
    kinds = {output.name: output.kind for output in source.contract.outputs}
    return [kinds[name] for name in answers.output_names(graph.read(float32))]


def _with_progress(representative: RepresentativeDataset) -> Iterator[Feed]:
    with Progress(len(representative), "calibrate") as progress:
        for tensor in representative.tensors():
            yield tensor
            progress.advance()


def _finish(
    source: Source,
    representative: RepresentativeDataset | None,
    variant: str,
    made: _Made,
    config: PtqConfig,
    started: float,
) -> Artefact:
    contract = _contract(source, representative, variant, made, config)
    finished = assemble(made.flatbuffer, contract)
    model = graph.read(finished)
    check(model, variant=variant, io=contract.quantization.io, runtime=config.runtime, mixed=bool(config.keep_float))
    data, contract = complete(finished, contract, golden_samples=config.golden_samples)
    return Artefact(
        name=source.name,
        variant=variant,
        data=data,
        contract=contract,
        seconds=time.monotonic() - started,
        ops=graph_facts.op_counts(model),
        float_ops=len(graph_facts.float_ops(model)),
    )


def _contract(
    source: Source, representative: RepresentativeDataset | None, variant: str, made: _Made, config: PtqConfig
) -> Contract:
    ranges = variant in CALIBRATED
    quantization = Quantization(
        variant=variant,
        scheme=SCHEMES[variant]
        + (f"; in float32: {', '.join(config.keep_float)}" if variant == "int8" and config.keep_float else ""),
        per_channel=config.per_channel if variant == "int8" else variant in ("dynamic", "int16x8"),
        ranges=made.ranges,
        io=config.io if variant == "int8" else "float32",
        seed=representative.seed if ranges and representative is not None else 0,
        representative=representative.identities if ranges and representative is not None else (),
    )
    notes = (*source.contract.notes, *made.notes, *(quantizers.notes(config.quantizer) if variant == "int8" else ()))
    return source.contract.replace(name=source.name, quantization=quantization, notes=notes, written_by=f"edgekit {__version__}")


def assemble(flatbuffer: bytes, contract: Contract) -> bytes:
    """Return ``flatbuffer`` with named inputs and outputs in the contract's order, TFLite Metadata and the contract's mark."""
    entries = {
        "TFLITE_METADATA": metadata.build(contract, _label_files(flatbuffer, contract)),
        marker.NAME: str(contract.schema_version).encode(),
    }
    names = [output.name for output in contract.outputs]
    inputs = [PICTURE] if contract.input.frames else []
    inputs += [extra.name for extra in contract.extra_inputs]
    return flatbuffer_edit.finish(flatbuffer, output_names=names, input_names=inputs, metadata=entries)


def _label_files(flatbuffer: bytes, contract: Contract) -> dict[str, str]:
    """Return the label file of each output that has a label for each of its values: MediaPipe refuses two labels of one value."""
    model = graph.read(flatbuffer)
    sizes = dict(zip(answers.output_names(model), (model.tensors[index].elements for index in model.main.outputs), strict=True))
    return {name: file for name, file in label_files(contract).items() if sizes.get(name) != 1}


def complete(assembled: bytes, contract: Contract, *, golden_samples: int = 2) -> tuple[bytes, Contract]:
    """Return the whole artefact of an assembled flatbuffer, and its contract with the golden samples that were recorded here."""
    recorded = golden.record_noting(assembled, contract, patterns=golden.PATTERNS[:golden_samples])
    full = contract.replace(golden=recorded.samples, notes=(*contract.notes, *recorded.notes))
    data = pack(assembled, full)
    if recorded.samples:  # it ran apart, with each kind of kernels
        sha256 = sha256_bytes(data)
        for recording in recorded.samples[0].outputs:
            trust.vouch(sha256, runtime=f"{recording.runtime} {recording.version}", kernels=recording.kernels)
    return data, full


def check(model: graph.Graph, *, variant: str, io: str, runtime: str | None, mixed: bool = False) -> None:
    """Hold the converted file to what was asked for, on the file itself. Raises ConversionError.

    ``int8`` may have no float tensor anywhere; with float32 I/O only the inputs and outputs themselves. mixed: ops were to stay in
    float.
    """
    if variant == "int8" and not mixed:
        boundary = {*model.main.inputs, *model.main.outputs} if io == "float32" else set()
        # What no op reads or writes only lends its scale: the intermediates of a recurrent op.
        used = {index for op in model.ops for index in (*op.inputs, *op.outputs)}
        islands = [t for t in model.tensors if t.is_float and t.index in used and t.index not in boundary]
        if islands:
            names = ", ".join(tensor.name for tensor in islands[:3])
            inside = {tensor.index for tensor in islands}
            ops = sorted({op.name for op in model.ops if inside & {*op.inputs, *op.outputs}} - _CONVERSIONS)
            raise ConversionError(
                f"int8: {len(islands)} float tensors are left in the file ({names}), as the quantizer has no int8 for"
                f" {', '.join(ops)}; train with another op, or leave it in float knowingly: --keep-float {','.join(ops).lower()}"
            )
    if runtime is not None:
        target = runtimes.get(runtime)
        refusals = target.refusals(model)
        if refusals:
            raise ConversionError(f"{variant}: {target.runtime} cannot load {'; '.join(refusals)}; choose another variant")
