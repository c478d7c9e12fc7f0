"""Golden samples: made-up pictures whose answers travel with the model, so that a board can prove it computes the same.

A picture is made from whole numbers only, so every machine makes the same one; no photo of anybody's is ever packed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import platform
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artefact import tensors
from ..artefact.contract import Contract, GoldenOutputs, GoldenSample
from ..artefact.tensors import TensorSpec
from ..errors import ContractError, InterpreterError
from ..files import sha256_bytes
from . import interpreter, preprocess
from .interpreter import RuntimeInfo
from .interpreter_apart import InterpreterApart

if TYPE_CHECKING:
    from .model import Model

PATTERNS = ("gradient", "rings", "noise-1", "noise-2")

# How far answers may lie apart where the kernels do not promise the same bits, as a share of the largest recorded value, by the
# arithmetic of the model. Measured on a trained InceptionResNetV2 between optimized and reference kernels and between
# ai-edge-litert 2.3.0 and tflite-runtime 2.14.0: float 1e-6, dynamic 5e-3, integer 7e-2 (11 steps of 256).
TOLERANCES = {"float": 1e-3, "dynamic": 2e-2, "integer": 1e-1}
_ANY = 1 << 16  # steps: no promise in steps
_MAX_VALUE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """One golden sample on one output. ``steps`` is the largest difference in quantization steps (integer outputs only),
    ``difference`` the same in real values.
    """

    pattern: str
    output: str
    exact: bool
    steps: int | None
    difference: float
    within_promise: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What `replay` found. ``compared_with`` is the recording that fits this runtime best; ``promise`` is what must hold."""

    runtime: RuntimeInfo
    machine: str
    compared_with: str
    promise: str
    results: tuple[SampleResult, ...]

    @property
    def passed(self) -> bool:
        return all(result.within_promise for result in self.results)

    @property
    def exact(self) -> bool:
        return all(result.exact for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"passed": self.passed, "exact": self.exact, **asdict(self)}


_NOISE = re.compile(r"noise-[0-9]{1,10}")


def pattern(name: str, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return a made-up picture, uint8 ``(height, width, channels)``. Whole numbers only: the same on every machine.

    ``gradient``: channel 0 rises to the right, 1 downwards, 2 along the diagonal. ``rings``: squared distance from the centre.
    ``noise-SEED``: the generator ``x * 1664525 + 1013904223 mod 2**32`` of Numerical Recipes, its highest byte.
    Raises ContractError for an unknown name.
    """
    rows, columns, layers = np.ogrid[0:height, 0:width, 0:channels]
    if name == "gradient":
        across, down = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
        values = np.where(layers == 0, across, np.where(layers == 1, down, (across + down) // 2))
    elif name == "rings":
        distance = (2 * columns - width) ** 2 + (2 * rows - height) ** 2
        values = distance * 2048 // (width * width + height * height) * (layers + 1)
    elif _NOISE.fullmatch(name):
        values = _noise(int(name[6:]), height * width * channels).reshape(height, width, channels)
    else:
        raise ContractError(f"golden sample {name!r:.60} is unknown, expected gradient, rings or noise-SEED")
    return np.broadcast_to(values % 256, (height, width, channels)).astype(np.uint8)


def inputs(name: str, contract: Contract, specs: Sequence[TensorSpec]) -> tuple[NDArray[Any], ...]:
    """Return every input tensor of a made-up sample, in the order of the file.

    Extra inputs take the pattern of one row, its 0..255 as -1..1 in the tensor's own units.
    """
    made: list[NDArray[Any]] = []
    spec = contract.input
    if spec.frames:
        pixels = pattern(name, spec.height, spec.width, spec.channels)
        made.append(preprocess.to_tensor(pixels, preprocess.lookup_table(spec, specs[0])))
    for extra, tensor in zip(contract.extra_inputs, specs[len(made) :], strict=True):
        row = pattern(name, 1, int(np.prod(extra.shape)), 1).astype(np.float32)
        real = (row / np.float32(127.5) - np.float32(1)).reshape(1, *extra.shape)
        made.append(real if tensor.quant is None else tensors.quantize(real, tensor.quant, tensor.dtype))
    return tuple(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Samples for a contract, and a line for each of the optional kernels that could not answer."""

    samples: tuple[GoldenSample, ...]
    notes: tuple[str, ...]


def record(
    model: bytes,
    contract: Contract,
    runtimes: Sequence[tuple[str, str]] | None = None,
    *,
    patterns: Iterable[str] = PATTERNS[:3],
    threads: int | None = None,
) -> tuple[GoldenSample, ...]:
    """Return the samples of `record_noting`."""
    return record_noting(model, contract, runtimes, patterns=patterns, threads=threads).samples


def record_noting(
    model: bytes,
    contract: Contract,
    runtimes: Sequence[tuple[str, str]] | None = None,
    *,
    patterns: Iterable[str] = PATTERNS[:3],
    threads: int | None = None,
) -> Recorded:
    """Run the made-up pictures through ``model``, each kind of kernels in a process of its own.

    runtimes: ``(package, kernels)`` pairs; default is the preferred installed package with its fast kernels, and with the reference
    kernels where these can run the model: they know fewer versions of some ops (ai-edge-litert 2.3: no int8 TILE), and abort on some
    networks that the fast ones compute. Raises InterpreterError where any that is not optional fails.
    """
    optional: tuple[str, ...] = ()
    if runtimes is None:
        package, _ = interpreter.import_package()
        runtimes = [(package, kernels) for kernels in interpreter.KERNELS]
        optional = interpreter.KERNELS[1:]
    names = tuple(patterns)
    hashes: dict[str, str] = {}
    notes: list[str] = []
    answers: list[dict[str, GoldenOutputs]] = []
    for package, kernels in runtimes:
        try:
            with contextlib.closing(InterpreterApart(model, threads=threads, kernels=kernels, package=package)) as loaded:
                answers.append({name: _answered(loaded, contract, name, hashes) for name in names})
        except InterpreterError as error:
            if kernels not in optional:
                raise
            notes.append(f"no golden samples of the {kernels} kernels: {error}")
    samples = tuple(
        GoldenSample(pattern=name, input_sha256=hashes[name], outputs=tuple(recorded[name] for recorded in answers))
        for name in names
    )
    return Recorded(samples=samples, notes=tuple(notes))


def _answered(loaded: InterpreterApart, contract: Contract, name: str, hashes: dict[str, str]) -> GoldenOutputs:
    tensors_in = inputs(name, contract, loaded.inputs)
    hashes[name] = sha256_bytes(b"".join(tensor.tobytes() for tensor in tensors_in))
    return _recorded(loaded.runtime, loaded.run(tensors_in), contract)


def replay(model: Model) -> SelfTest:
    """Run a model's golden samples here and compare the answers with those that travel with it.

    The promise: an integer model gives the same bits on the runtime package, version, kernels and kind of machine of the recording, and
    with reference kernels anywhere. ai-edge-litert's other kernels lie within one quantization step on another kind of machine. All
    else lies within TOLERANCES times the largest recorded value.

    Raises ContractError if the model has no samples, or if one was made from another input tensor than this machine makes.
    """
    contract = model.contract
    if not contract.golden:
        raise ContractError(f"{model.path}: no golden samples travel with it; make the artefact with edgekit quantize")
    if not contract.golden[0].outputs:
        raise ContractError(f"{model.path}: its golden samples have no recorded answers; make the artefact again")
    recording = _closest(contract.golden[0].outputs, model.runtime)
    steps = _promised_steps(model, recording)
    tolerance = 0.0 if steps == 0 else TOLERANCES[model.arithmetic]
    results: list[SampleResult] = []
    for sample in contract.golden:
        made = inputs(sample.pattern, contract, model.inputs)
        if sha256_bytes(b"".join(tensor.tobytes() for tensor in made)) != sample.input_sha256:
            raise ContractError(
                f"{model.path}: golden sample {sample.pattern!r} gives another input tensor here than where it was made"
            )
        raw = model.invoke(made)
        expected = _same(sample.outputs, recording)
        results.extend(_compare(model, sample.pattern, raw, expected.values, tolerance, steps))
    promise = {0: "the same bits", 1: "within one quantization step"}.get(steps, f"within {tolerance:g} of the largest value")
    return SelfTest(
        runtime=model.runtime,
        machine=platform.machine(),
        compared_with=f"{recording.runtime} {recording.version}, {recording.kernels} kernels, {recording.machine}",
        promise=promise,
        results=tuple(results),
    )


def decode(text: str, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """Return the array of a recorded value. Raises ContractError if it does not have the shape."""
    expected = int(np.prod(shape)) * dtype.itemsize
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), min(expected + 1, _MAX_VALUE_BYTES))
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ContractError(f"{where}: a golden sample cannot be unpacked ({error})") from error
    if len(data) != expected:
        raise ContractError(f"{where}: a golden sample has {len(data)} bytes, expected {expected} for {dtype} {shape}")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def encode(array: NDArray[Any]) -> str:
    """Return an array as text: base64 of zlib of its little-endian bytes."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little.tobytes(), 9)).decode("ascii")


def _noise(seed: int, count: int) -> NDArray[np.int64]:
    # Jumping ahead, x(n) = a(n) x(0) + c(n) mod 2**32, with a(n) and c(n) doubled up instead of stepped through in Python.
    mask = (1 << 32) - 1
    factors, offsets = np.array([1664525], np.uint64), np.array([1013904223], np.uint64)
    while factors.size < count:
        last_factor, last_offset = factors[-1], offsets[-1]
        offsets = np.concatenate([offsets, (offsets + factors * last_offset) & mask])
        factors = np.concatenate([factors, factors * last_factor & mask])
    values = (factors[:count] * np.uint64(seed & mask) + offsets[:count]) & mask
    return (values >> np.uint64(24)).astype(np.int64)


def _recorded(runtime: RuntimeInfo, answered: Sequence[NDArray[Any]], contract: Contract) -> GoldenOutputs:
    return GoldenOutputs(
        runtime=runtime.package,
        version=runtime.version,
        kernels=runtime.kernels,
        machine=platform.machine(),
        values={spec.name: encode(array) for spec, array in zip(contract.outputs, answered, strict=True)},
    )


def _closest(recorded: Sequence[GoldenOutputs], runtime: RuntimeInfo) -> GoldenOutputs:
    """Return the recording to compare with: same kernels first, then same package, then same version, then same machine."""
    here = (runtime.kernels, runtime.package, runtime.version, platform.machine())
    return max(recorded, key=lambda o: [a == b for a, b in zip((o.kernels, o.runtime, o.version, o.machine), here, strict=True)])


def _same(recorded: Sequence[GoldenOutputs], wanted: GoldenOutputs) -> GoldenOutputs:
    key = (wanted.runtime, wanted.version, wanted.kernels, wanted.machine)
    for outputs in recorded:
        if (outputs.runtime, outputs.version, outputs.kernels, outputs.machine) == key:
            return outputs
    raise ContractError(
        f"the golden samples were not all recorded on {wanted.runtime} {wanted.version} with {wanted.kernels} kernels"
    )


def _promised_steps(model: Model, recording: GoldenOutputs) -> int:
    """Return how many quantization steps the answers may lie apart, `_ANY` where only TOLERANCES hold."""
    runtime = model.runtime
    if model.arithmetic != "integer" or recording.kernels != runtime.kernels:
        return _ANY
    if runtime.kernels == "reference":
        return 0
    same = (recording.runtime, recording.version) == (runtime.package, runtime.version)
    if not same or runtime.delegate not in ("xnnpack", "none"):
        return _ANY
    if recording.machine == platform.machine():
        return 0
    # The fast int8 softmax of ai-edge-litert 2.3 computes with floats inside, and rounds one value in some dozens to the neighbouring step
    # on ARM; all other ops agree. tflite-runtime's kernels round differently all over (benchmarks/results/fidelity.json).
    integers = all(tensor.quant is not None for tensor in model.outputs)
    return 1 if runtime.package == "ai-edge-litert" and integers else _ANY


def _compare(
    model: Model, name: str, raw: Mapping[str, NDArray[Any]], expected: Mapping[str, str], tolerance: float, allowed: int
) -> Iterable[SampleResult]:
    for spec, tensor in zip(model.contract.outputs, model.outputs, strict=True):
        if spec.name not in expected:
            raise ContractError(f"{model.path}: golden sample {name!r} has no output {spec.name!r}")
        here = raw[spec.name]
        there = decode(expected[spec.name], tensor.dtype, here.shape, str(model.path))
        if tensor.quant is not None:
            steps: int | None = int(np.abs(here.astype(np.int64) - there.astype(np.int64)).max(initial=0))
            real_here, real_there = tensors.dequantize(here, tensor.quant), tensors.dequantize(there, tensor.quant)
        else:
            steps, real_here, real_there = None, here.astype(np.float32), there.astype(np.float32)
        difference = float(np.abs(real_here - real_there).max(initial=0.0))
        exact = bool(np.array_equal(here, there))
        largest = float(np.abs(real_there).max(initial=0.0))
        near = difference <= tolerance * largest if allowed == _ANY else steps is not None and steps <= allowed
        within = exact or near
        yield SampleResult(pattern=name, output=spec.name, exact=exact, steps=steps, difference=difference, within_promise=within)
