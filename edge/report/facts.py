"""What a report is about, as data: variants, accuracies, latencies, predictions. `edge.report.gathering` fills them from runs.

Each figure has its ``origin``, and nothing here puts figures of different origins together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from devices.origin import Origin

from ..history.record import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A model. ``key`` is the SHA-256 of its flatbuffer, ``name`` what it is called on the page: as short as is clear."""

    key: str
    name: str
    file: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Of top-1, reference minus candidate, paired; fractions."""

    top1: float
    low: float
    high: float
    lost: int
    won: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An image that only one of the two has right. ``margin``: how sure the reference was (0..1), ``sha256``: of the file, where known."""

    image: str
    label: str
    reference: str
    candidate: str
    margin: float | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChange:
    """One class: shares of its images that are right, and how many were lost and won."""

    label: str
    images: int
    reference: float | None
    candidate: float
    lost: int
    won: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Where the same bits were found, on so many images: an accuracy that was measured elsewhere holds there."""

    origin: Origin
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """What a sequential test keeps: how many were lost and won when it was decided."""

    lost: int
    won: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """``confusion``: rows are true classes, columns answers, None where the answer is not in full. ``holds_on``: where it was not
    measured and holds all the same. ``reference_origin``: where the reference ran, None where its answers were stored.
    ``sequential``: of a sequential test, which has neither ``drop`` nor accuracy.
    """

    run: Run
    variant: str
    reference: str | None
    origin: Origin
    reference_origin: Origin | None
    holds_on: tuple[Certificate, ...]
    sequential: Sequential | None
    images: int
    top1: float | None
    reference_top1: float | None
    drop: Drop | None
    agreement: float | None
    max_drop: float | None
    verdict: str | None
    images_to_decide: int | None
    classes: tuple[ClassChange, ...]
    confusion: Mapping[str, list[list[int]]] | None
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]
    dataset: str | None
    findings: tuple[tuple[str, str], ...]
    outputs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Where the time of a run goes. ``kernels`` and ``blocks``: (name, what ran it, milliseconds); blocks may be unknown."""

    threads: int
    kernels: tuple[tuple[str, str, float], ...]
    blocks: tuple[tuple[str, str, float], ...]
    findings: tuple[str, ...]

    @classmethod
    def of(cls, per_op: Mapping[str, Any]) -> Split:
        """Return what ``edgekit benchmark --per-op`` wrote. A block is built-in where none of its ops runs on XNNPACK."""
        fast = {int(op["index"]) for op in per_op["ops"] if op["ran_by"] != "built-in"}

        def block(entry: Mapping[str, Any]) -> tuple[str, str, float]:
            slow = fast.isdisjoint(range(entry["first"], entry["last"] + 1))
            return str(entry["name"]), "built-in" if slow else "XNNPACK", float(entry["ms"])

        return cls(
            threads=int(per_op["threads"]),
            kernels=tuple(
                (f"{entry['calls']} x {entry['kernel']}", str(entry["ran_by"]), float(entry["ms"])) for entry in per_op["kernels"]
            ),
            blocks=tuple(map(block, per_op["blocks"])),
            findings=tuple(map(str, per_op["findings"])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Joules:
    """What a run took above rest, half of the interval of 95 % and all of it with the rest, in joules; which part of the machine."""

    joules: float
    uncertainty_j: float
    joules_with_rest: float
    meter: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timing:
    """Measured, on a real machine. ``percentiles_ms``: 0 to 100, empty where not kept. ``trace``: (seconds, ms, degrees Celsius or
    None).
    """

    run: Run
    variant: str
    origin: Origin
    runs: int
    threads: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    memory_mib: float
    percentiles_ms: tuple[float, ...]
    trace: tuple[tuple[float, float, float | None], ...]
    quotable: bool
    energy: Joules | None
    split: Split | None

    def times_as_fast_as(self, other: Timing) -> float:
        """Return how many times as fast this is. Raises ValueError for times of different origins, which tell nothing together."""
        if self.origin != other.origin:
            raise ValueError(f"a time of {self.origin} and one of {other.origin} are not to be divided")
        return other.p50_ms / self.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Of ``edgekit check``. ``mapped`` and ``on_cpu`` count ops; None without an Edge TPU. ``ops``: index, mapped, reason."""

    run: Run
    variant: str
    origin: Origin
    fits: bool | None
    low_ms: float | None
    expected_ms: float | None
    high_ms: float | None
    peak_mib: float
    mapped: int | None
    on_cpu: int | None
    ops: tuple[tuple[int, str, bool, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpError:
    """``position`` in the network; ``sqnr_db`` is None where there is no error at all."""

    position: int
    op: str
    tensor: str
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Of ``edgekit explain``. ``rungs``: name, drop, low, high against the rung before (fractions; None where not known)."""

    run: Run
    variant: str | None
    origin: Origin
    images: int
    rungs: tuple[tuple[str, float | None, float | None, float | None], ...]
    worst_step: str
    ops: tuple[OpError, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """Of ``edgekit qat``. ``epochs``: epoch, loss, and the ``figure`` (of `edge.validation.headline`) of the output that leads: in
    float, with fake quantization, and as the int8 file.
    """

    run: Run
    name: str
    origin: Origin
    figure: str
    epochs: tuple[tuple[int, float | None, float | None, float | None, float | None], ...]
    best_epoch: int
    post_training: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One int8 file of a search: ``kind`` is original, tried, nothing beats it, or made. ``error``, ``agreement``: on held-out photos."""

    name: str
    kind: str
    ms: float
    bytes: int
    error: float
    agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a network that could go: ``how`` is block or channels. ``left``: the share that is left, 0..1."""

    name: str
    how: str
    left: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shrinking:
    """Of ``edgekit shrink``. ``timed``: where milliseconds come from, in words. ``parts``: in the order of execution, blocks first."""

    run: Run
    name: str
    origin: Origin
    timed: str
    points: tuple[Tried, ...]
    parts: tuple[Part, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """``left_out``: why a run, or a part of one, is not in the report."""

    runs: tuple[Run, ...]
    variants: tuple[Variant, ...]
    validations: tuple[Validation, ...]
    timings: tuple[Timing, ...]
    predictions: tuple[Prediction, ...]
    explanations: tuple[Explanation, ...]
    trainings: tuple[Training, ...]
    shrinkings: tuple[Shrinking, ...]
    left_out: tuple[str, ...]

    def variant(self, key: str) -> Variant:
        return next(variant for variant in self.variants if variant.key == key)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where times come from: machines and boards that were measured, then boards that were predicted."""
        return tuple(dict.fromkeys((*(entry.origin for entry in self.timings), *(entry.origin for entry in self.predictions))))


def basename(file: str) -> str:
    """Return the last part of a path of any system."""
    return file.replace("\\", "/").rpartition("/")[2]


def figures(facts: Facts) -> dict[str, Any]:
    """Return validations, timings and predictions, each with the variant's name and where it comes from."""
    return {
        "validations": [_validation(facts, entry) for entry in facts.validations],
        "timings": [_timing(facts, entry) for entry in facts.timings],
        "predictions": [_prediction(facts, entry) for entry in facts.predictions],
    }


def _about(facts: Facts, entry: Validation | Timing | Prediction) -> dict[str, Any]:
    return {
        "variant": facts.variant(entry.variant).name,
        "model_sha256": entry.variant,
        "origin": entry.origin.to_dict(),
        "run": entry.run.id if entry.run.id is not None else entry.run.source,
    }


def _validation(facts: Facts, entry: Validation) -> dict[str, Any]:
    drop, flips = entry.drop, entry.drop or entry.sequential
    return {
        **_about(facts, entry),
        "images": entry.images,
        "dataset_sha256": entry.run.dataset_sha256,
        "top1": entry.top1,
        "reference_top1": entry.reference_top1,
        "drop": None if drop is None else {"top1": drop.top1, "ci95": [drop.low, drop.high], "p_value": drop.p_value},
        "flips_lost": None if flips is None else flips.lost,
        "flips_won": None if flips is None else flips.won,
        "agreement": entry.agreement,
        "max_drop": entry.max_drop,
        "verdict": entry.verdict,
        "sequential": entry.sequential is not None,
        "holds_on": [{"origin": found.origin.to_dict(), "images": found.images} for found in entry.holds_on],
    }


def _timing(facts: Facts, entry: Timing) -> dict[str, Any]:
    percentiles = {f"{name}_ms": getattr(entry, f"{name}_ms") for name in ("min", "p50", "p90", "p99")}
    energy = None if entry.energy is None else asdict(entry.energy)
    return {**_about(facts, entry), **percentiles, "memory_mib": entry.memory_mib, "energy": energy, "quotable": entry.quotable}


def _prediction(facts: Facts, entry: Prediction) -> dict[str, Any]:
    ends = {"low": entry.low_ms, "expected": entry.expected_ms, "high": entry.high_ms}
    return {
        **_about(facts, entry),
        "fits": entry.fits,
        "latency_ms": None if entry.expected_ms is None else ends,
        "peak_mib": entry.peak_mib,
    }
