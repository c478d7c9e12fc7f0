"""The ranges of the default full int8: the blend that the network wants, and something else only where it is proven better.

No method is best for every network, but a blend that lies a little above the mean of each image's extremes is near the best for most.
It is what is expected. Blends from min/max to the mean extremes become real int8 files (edited, which takes a fraction of a second)
with ranges from one part of the images, run on the other part on real kernels, and are compared with float where nothing saturates
(`unsaturated`); then the same with the parts exchanged. A curve through their errors gives the share (`ranges.best_share`). Another method,
for the whole network or one part of it, must be better by more than chance gives the best of so many tries, or the blend stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from devices.findings import WARNING, Finding
from edge.numbers import statistics
from edge.progress import Progress

from ..tflite import calibrated, conversion
from ..tflite.calibrated import Range
from ..tflite.int8_file import Int8File
from . import activations, output_error, ranges, same_range, unsaturated
from .activations import Activations, Tensors
from .output_error import Floats
from .segments import Segment, segments
from .unsaturated import Measure

AUTO = "auto"
CONVERTER = "converter"  # the ranges of TensorFlow's calibrator, as TFLiteConverter uses them
NAMES = (AUTO, CONVERTER, *ranges.METHODS)

_FEWEST_HELD_OUT = 8
_MOST_MEASURED = 128  # images of 299 x 299 take 1 MiB each
_OTHERS = ("percentile", "mse")  # what is tried beside the blends
_REST = "minmax"  # of input and head: a picture's whole range is used, and clipping the answer costs probabilities
_ONE_ERROR = 0.8413  # of a normal distribution lies below one standard error above its mean
_PARTS = ((0,), (1,))
# Above the mean of the extremes, in their standard deviations: what a blend of 0.2 of 200 images is, and of how well a mean is known.
_ABOVE_MEAN = 0.55


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gain:
    """The finished ranges against the plain converter's, both from all images, on those that measured.

    ``chosen``, ``converter``: error against float of each image, ``(images,)``. ``agreeing``: images whose first class is the
    float network's; None for outputs without classes.
    """

    chosen: Floats
    converter: Floats
    agreeing: int | None

    def describe(self) -> str:
        """Return it in words, and no more than the images can tell."""
        low, high = statistics.mean_interval(self.converter - self.chosen)
        chance = "" if low > 0 or high < 0 else ": no difference beyond chance"
        agree = "" if self.agreeing is None else f", the same class on {self.agreeing}"
        images = self.chosen.size
        return (
            f"error against float {self.chosen.mean():.4f} (plain converter {self.converter.mean():.4f}{chance})"
            f" on the {images} images that chose{agree}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RangeChoice:
    """``calibrated``: the flatbuffer with the ranges written in. ``methods``: segment to method. ``ranges``: by tensor name.

    ``error``: mean error on the ``held_out`` images by name of what was tried whole, ``chosen`` that of the final choice, with
    ranges from the other images. ``gain``: of the finished ranges. Empty and None where nothing was measured.
    """

    calibrated: bytes
    method: str
    methods: Mapping[str, str]
    ranges: Mapping[str, Range]
    error: Mapping[str, float]
    gain: Gain | None
    held_out: int
    findings: tuple[Finding, ...]

    def describe(self) -> str:
        """One line: what was chosen and what it gained."""
        return f"ranges: {self.method}" + ("" if self.gain is None else f"; {self.gain.describe()}")


def fixed(flatbuffer: bytes, method: str, found: Mapping[str, Range]) -> RangeChoice:
    """Return the choice of one method for all tensors, unmeasured."""
    return RangeChoice(
        calibrated=flatbuffer,
        method=method,
        methods={"all": method},
        ranges=found,
        error={},
        gain=None,
        held_out=0,
        findings=(),
    )


def too_few(images: int) -> Finding:
    """Return the finding for images that are too few to hold some out."""
    return Finding(
        check="few_representative",
        severity=WARNING,
        message=f"{images} representative images are too few to hold some out: the ranges were chosen on the images that"
        " set them; give 100 or more",
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Search:
    """The candidates' common ground: one int8 file that is edited again and again, and the float answers."""

    seen: Activations
    file: Int8File
    groups: tuple[same_range.RangeGroup, ...]
    parts: tuple[Segment, ...]
    measure: Measure
    part_of: tuple[int, ...]
    _ranges: dict[tuple[int, str, tuple[int, ...]], Range] = field(default_factory=dict)

    def range_of(self, position: int, method: str, parts: tuple[int, ...]) -> Range:
        key = (position, method, parts)
        if key not in self._ranges:
            self._ranges[key] = ranges.method(method)(self.seen.observed(self.groups[position].tensors, parts))
        return self._ranges[key]

    def ranges(self, by_segment: Mapping[str, str], parts: tuple[int, ...]) -> dict[str, Range]:
        """Ranges by tensor name for one method a segment (by name)."""
        names = self.seen.model.tensors
        return {
            names[index].name: self.range_of(position, by_segment[segment.name], parts)
            for segment in self.parts
            for position in segment.positions
            for index in self.groups[position].tensors
        }

    def packed(self, found: Mapping[str, Range]) -> bytes:
        """The int8 file with these ranges."""
        self.file.set_ranges(found)
        return self.file.pack()

    def error(self, by_segment: Mapping[str, str]) -> Floats:
        """Error of each image that measures, with ranges from the images of the other part."""
        errors = np.zeros(len(self.part_of))
        for fit, measured in (_PARTS, _PARTS[::-1]):
            numbers = [i for i, part in enumerate(self.part_of) if part in measured]
            errors[numbers] = self.measure.error(self.packed(self.ranges(by_segment, fit)), numbers)
        return errors


def choose_ranges(
    float_flatbuffer: bytes,
    calibrated_flatbuffer: bytes,
    tensors: Tensors,
    *,
    method: str = AUTO,
    count: int | None = None,
    kinds: Iterable[str] | None = None,
    quantize: Callable[[bytes], bytes] = conversion.quantize_int8,
    seen: Activations | None = None,
) -> RangeChoice:
    """Return the calibrated flatbuffer with the ranges of ``method`` (``auto`` measures) in place of min/max.

    tensors: called whenever the representative images are needed again; float32 ``(1, height, width, channels)``.
    kinds: the outputs' kinds as in the contract, in the file's order. quantize: makes the int8 file that is measured, with int8 inputs
    and outputs, of a calibrated flatbuffer. seen: what ``observe`` gave for these images, where it is
    known already. Raises CalibrationError.
    """
    if method == CONVERTER:
        return fixed(calibrated_flatbuffer, CONVERTER, {})
    ranges.method("minmax" if method == AUTO else method)
    seen = seen or observe(float_flatbuffer, tensors, count=count)
    groups = same_range.groups(seen.model)
    parts = segments(seen.model, groups)
    if method != AUTO:
        chosen = {p: method for segment in parts for p in segment.positions}
        chosen |= {p: _REST for segment in parts if segment.kind == "input" for p in segment.positions}
        found = _by_name(seen, groups, chosen)
        return fixed(calibrated.write_ranges(calibrated_flatbuffer, found), method, found)
    return _auto(float_flatbuffer, seen, groups, parts, calibrated_flatbuffer, tensors, kinds, quantize)


def observe(float_flatbuffer: bytes, tensors: Tensors, *, count: int | None = None) -> Activations:
    """Return what the float network does on the images, in two parts: those that set the ranges, and those held out."""
    with Progress(count or 0, "observe the float network") as progress:
        return activations.gather(float_flatbuffer, tensors, part=held_out, parts=2, progress=progress.advance)


def expected_share(images: int) -> float:
    """Return the share of the blend that so many images begin with: the fewer they are, the nearer are their extremes to the mean.

    The highest of n values of a normal distribution lies at about its quantile ``(n - 0.375) / (n + 0.25)`` (G. Blom, 1958).
    """
    if images < 2:
        return 1.0
    highest = NormalDist().inv_cdf((images - 0.375) / (images + 0.25))
    return min((_ABOVE_MEAN + 1 / math.sqrt(images)) / highest, 1.0)


def blend(share: float) -> str:
    """Return the name of the method; a share of 1 is min/max."""
    return _REST if share >= 1 else f"blend-{share:.2f}"


def _auto(
    float_flatbuffer: bytes,
    seen: Activations,
    groups: tuple[same_range.RangeGroup, ...],
    parts: tuple[Segment, ...],
    calibrated_flatbuffer: bytes,
    tensors: Tensors,
    kinds: Iterable[str] | None,
    quantize: Callable[[bytes], bytes],
) -> RangeChoice:
    part_of = _measuring(seen)
    images = [tensor for i, tensor in enumerate(tensors()) if i in part_of]
    compared = output_error.kinds(seen.model, None if kinds is None else tuple(kinds))
    search = _Search(
        seen=seen,
        file=Int8File(quantize(calibrated_flatbuffer), float_flatbuffer),
        groups=groups,
        parts=parts,
        measure=unsaturated.measure(float_flatbuffer, images, compared),
        part_of=tuple(part_of.values()),
    )
    reference = [seen.outputs[i] for i in part_of]

    def real_error(flatbuffer: bytes) -> tuple[Floats, float | None]:
        answers = activations.run(flatbuffer, images)
        return output_error.per_image(reference, answers, compared), output_error.agreement(reference, answers, compared)

    converter, _ = real_error(search.file.pack())
    share = expected_share(len(seen.part_of))
    whole = blend(share)
    errors: dict[str, float] = {}
    by_segment = {segment.name: _REST if segment.kind in ("input", "head") else whole for segment in parts}
    independent = sum(part_of.values()) >= _FEWEST_HELD_OUT
    if independent:
        whole, by_segment, errors = _chosen(search, share)
    found = search.ranges(by_segment, (0, 1))
    finished, agreement = real_error(search.packed(found))
    changed = {segment.name for segment in parts if segment.kind not in ("input", "head") and by_segment[segment.name] != whole}
    text = f"auto: {whole}" + (f", {len(changed)} of {len(parts)} segments otherwise" if changed else "")
    return RangeChoice(
        calibrated=calibrated.write_ranges(calibrated_flatbuffer, found),
        method=text,
        methods=by_segment,
        ranges=found,
        error=errors,
        gain=Gain(chosen=finished, converter=converter, agreeing=None if agreement is None else round(agreement * len(images))),
        held_out=len(images) if independent else 0,
        findings=() if independent else (too_few(len(seen.part_of)),),
    )


def _measuring(seen: Activations) -> dict[int, int]:
    """Return number and part of the images that measure, evenly spread over those whose answers are kept."""
    kept = list(seen.outputs)
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(len(kept), _MOST_MEASURED)).astype(int))
    return {kept[place]: seen.part_of[kept[place]] for place in chosen}


def _chosen(search: _Search, expected: float) -> tuple[str, dict[str, str], dict[str, float]]:
    """Return the method for the whole network, those by segment, and the mean error of what was tried.

    The input and the head stay unclipped. First the blends, then the other methods for all the rest, then for one segment at a time.
    """
    free = [segment.name for segment in search.parts if segment.kind not in ("input", "head")]
    rest = {segment.name: _REST for segment in search.parts}

    def throughout(name: str) -> dict[str, str]:
        return rest | dict.fromkeys(free, name)

    tried: dict[str, Floats] = {}
    with Progress(len(ranges.SHARES) + 1 + len(_OTHERS), "choose the ranges") as progress:

        def measured(name: str) -> Floats:
            tried[name] = search.error(throughout(name))
            progress.advance()
            return tried[name]

        first = blend(ranges.best_share({share: measured(blend(share)) for share in ranges.SHARES}, expected))
        for name in (first, *_OTHERS):
            measured(name)
    certainty = _certainty(len(_OTHERS), len(search.part_of))
    proven = [name for name in _OTHERS if output_error.better(tried[name], tried[first], certainty)]
    whole = min(proven, key=lambda name: float(tried[name].mean()), default=first)
    by_segment, best = throughout(whole), tried[whole]
    errors = {name: float(error.mean()) for name, error in tried.items()}
    instead = first if whole != first else min(_OTHERS, key=lambda name: errors[name])
    certainty = _certainty(len(_OTHERS) + len(free), len(search.part_of))
    with Progress(len(free), "choose the ranges in parts") as progress:
        for name in free:
            trial = by_segment | {name: instead}
            error = search.error(trial)
            if output_error.better(error, best, certainty):
                by_segment, best = trial, error
            progress.advance()
    return whole, by_segment, {**errors, "chosen": float(best.mean())}


def _certainty(tries: int, images: int) -> float:
    """Return the standard errors that the best of so many tries exceeds no more often by chance than one try exceeds one."""
    return statistics.student_quantile(1 - (1 - _ONE_ERROR) / tries, max(images - 1, 1))


def _by_name(seen: Activations, groups: tuple[same_range.RangeGroup, ...], methods: Mapping[int, str]) -> dict[str, Range]:
    return {
        seen.model.tensors[index].name: ranges.method(method)(seen.observed(groups[position].tensors, (0, 1)))
        for position, method in methods.items()
        for index in groups[position].tensors
    }


def held_out(image: int) -> bool:
    """Whether the image of this number only measures: two in five, evenly spread, so that every class is on both sides."""
    return image % 5 in (2, 4)
