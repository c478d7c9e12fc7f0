"""The ranges of the default full int8: chosen by what they do to the network's output, on images that did not set them.

No method is best for every network, and the error of a tensor says little about the error of the answer. So every candidate
becomes a real int8 file (edited, which takes a fraction of a second), runs on the held-out images on real kernels, and is compared
with float: first each method for the whole network, then, from the best, each kind of tensor in each part of the network on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge.model import Feed
from edge.progress import Progress

from . import activations, calibrated, conversion, output_error, range_choice, ranges, same_range
from .activations import Activations, Tensors
from .answers import Answer
from .int8_file import Int8File
from .output_error import Floats
from .range_choice import Gain, RangeChoice
from .ranges import Range
from .segments import Segment, segments

AUTO = "auto"
CONVERTER = "converter"  # the ranges of TensorFlow's calibrator, as TFLiteConverter uses them
NAMES = (AUTO, CONVERTER, *ranges.METHODS)

_FEWEST_HELD_OUT = 8
_MOST_HELD_OUT = 128  # images of 299 x 299 take 1 MiB each
_LADDER = ("minmax", *(f"blend-{share:g}" for share in ranges.BLENDS), "mean")
_WHOLE = (*_LADDER, "moving-average", "percentile", "mse", "kl")
_REST = "minmax"  # what input and head begin with


@dataclass(slots=True, kw_only=True, eq=False)
class _Search:
    """The candidates' common ground: one int8 file that is edited again and again, and the float answers."""

    seen: Activations
    file: Int8File
    groups: tuple[same_range.RangeGroup, ...]
    images: list[Feed]
    reference: list[Answer]
    compared: dict[str, str]
    fit_parts: tuple[int, ...]
    _ranges: dict[tuple[int, str], Range] = field(default_factory=dict)

    def range_of(self, position: int, method: str, parts: tuple[int, ...]) -> Range:
        key = (position, f"{method}/{parts}")
        if key not in self._ranges:
            self._ranges[key] = ranges.method(method)(self.seen.observed(self.groups[position].tensors, parts))
        return self._ranges[key]

    def ranges(self, methods: Mapping[int, str], parts: tuple[int, ...]) -> dict[str, Range]:
        """Ranges by tensor name for one method a group (by position)."""
        names = self.seen.model.tensors
        return {
            names[index].name: self.range_of(position, method, parts)
            for position, method in methods.items()
            for index in self.groups[position].tensors
        }

    def measure(self, methods: Mapping[int, str]) -> Floats:
        """Error of each held-out image, with ranges from the others."""
        return self.error_with(self.ranges(methods, self.fit_parts))

    def error_with(self, found: Mapping[str, Range]) -> Floats:
        """Error of each held-out image with these ranges; the answers are kept in ``last``."""
        self.file.set_ranges(found)
        return self.error_of(self.file.pack())

    def error_of(self, flatbuffer: bytes) -> Floats:
        """Error of each held-out image for a finished file; its answers are kept in ``last``."""
        self.last = activations.run(flatbuffer, self.images)
        return output_error.per_image(self.reference, self.last, self.compared)

    last: list[Answer] = field(default_factory=list)


def choose_ranges(
    float_flatbuffer: bytes,
    calibrated_flatbuffer: bytes,
    tensors: Tensors,
    *,
    method: str = AUTO,
    count: int | None = None,
    kinds: Iterable[str] | None = None,
    per_channel: bool = True,
    seen: Activations | None = None,
) -> RangeChoice:
    """Return the calibrated flatbuffer with the ranges of ``method`` (``auto`` measures) in place of min/max.

    tensors: called whenever the representative images are needed again; float32 ``(1, height, width, channels)``.
    kinds: the outputs' kinds as in the contract, in the file's order. seen: what ``observe`` gave for these images, where it is
    known already. Raises CalibrationError.
    """
    if method == CONVERTER:
        return range_choice.fixed(calibrated_flatbuffer, CONVERTER, {})
    ranges.method("minmax" if method == AUTO else method)
    seen = seen or observe(float_flatbuffer, tensors, count=count)
    groups = same_range.groups(seen.model)
    parts = segments(seen.model, groups)
    if method != AUTO:
        chosen = {p: method for segment in parts for p in segment.positions}
        chosen |= {p: _REST for segment in parts if segment.kind == "input" for p in segment.positions}
        found = _by_name(seen, groups, chosen)
        return range_choice.fixed(calibrated.write_ranges(calibrated_flatbuffer, found), method, found)
    return _auto(seen, groups, parts, calibrated_flatbuffer, tensors, kinds, per_channel)


def observe(float_flatbuffer: bytes, tensors: Tensors, *, count: int | None = None) -> Activations:
    """Return what the float network does on the images, in two parts: those that set the ranges, and those held out."""
    with Progress(count or 0, "observe the float network") as progress:
        return activations.gather(float_flatbuffer, tensors, part=held_out, parts=2, progress=progress.advance)


def _auto(
    seen: Activations,
    groups: tuple[same_range.RangeGroup, ...],
    parts: tuple[Segment, ...],
    calibrated_flatbuffer: bytes,
    tensors: Tensors,
    kinds: Iterable[str] | None,
    per_channel: bool,
) -> RangeChoice:
    held = [i for i in seen.outputs if seen.part_of[i] == 1]
    held = held[:: -(-len(held) // _MOST_HELD_OUT) or 1]  # evenly spread: photos come class by class
    independent = len(held) >= _FEWEST_HELD_OUT
    if not independent:
        held = list(seen.outputs)
    wanted = set(held)
    images = [tensor for i, tensor in enumerate(tensors()) if i in wanted]
    search = _Search(
        seen=seen,
        file=Int8File(conversion.quantize_int8(calibrated_flatbuffer, per_channel=per_channel)),
        groups=groups,
        images=images,
        reference=[seen.outputs[i] for i in held],
        compared=output_error.kinds(seen.model, None if kinds is None else tuple(kinds)),
        fit_parts=(0,) if independent else (0, 1),
    )
    converter = search.error_of(search.file.pack())
    by_segment, errors, best, whole = _best_whole(search, parts)
    by_segment, best = _refined(search, parts, by_segment, best)
    found = search.ranges(_spread(parts, by_segment), (0, 1))
    finished = search.error_with(found)
    agreement = output_error.agreement(search.reference, search.last, search.compared)
    changed = {name: m for name, m in by_segment.items() if m != whole}
    text = f"auto: {whole}" + (f", {len(changed)} of {len(parts)} segments otherwise" if changed else "")
    return RangeChoice(
        calibrated=calibrated.write_ranges(calibrated_flatbuffer, found),
        method=text,
        methods=by_segment,
        ranges=found,
        error={**errors, CONVERTER: float(converter.mean()), "chosen": float(best.mean())},
        gain=Gain(chosen=finished, converter=converter, agreeing=None if agreement is None else round(agreement * len(held))),
        held_out=len(held),
        findings=() if independent else (range_choice.too_few(len(seen.part_of)),),
    )


def _best_whole(search: _Search, parts: tuple[Segment, ...]) -> tuple[dict[str, str], dict[str, float], Floats, str]:
    """Try each method for the whole network, with the input and the head unclipped."""
    errors: dict[str, float] = {}
    best: Floats | None = None
    choice: dict[str, str] = {}
    whole = ""
    with Progress(len(_WHOLE), "choose the ranges") as progress:
        for name in _WHOLE:
            by_segment = {segment.name: _REST if segment.kind in ("input", "head") else name for segment in parts}
            error = search.measure(_spread(parts, by_segment))
            errors[name] = float(error.mean())
            if best is None or error.mean() < best.mean():
                best, choice, whole = error, by_segment, name
            progress.advance()
    assert best is not None
    return choice, errors, best, whole


def _refined(
    search: _Search, parts: tuple[Segment, ...], by_segment: dict[str, str], best: Floats
) -> tuple[dict[str, str], Floats]:
    """Try the neighbouring blends for one segment at a time; keep what is better beyond the noise of the images."""
    by_segment = dict(by_segment)
    # A picture's whole range is used, and clipping it costs every image.
    trials = [(s.name, name) for s in parts if s.kind != "input" for name in _neighbours(by_segment[s.name])]
    with Progress(len(trials), "choose the ranges in parts") as progress:
        for segment, name in trials:
            trial = {**by_segment, segment: name}
            error = search.measure(_spread(parts, trial))
            if output_error.better(error, best):
                by_segment, best = trial, error
            progress.advance()
    return by_segment, best


def _neighbours(method: str) -> tuple[str, ...]:
    if method not in _LADDER:
        return ("blend-0.2", "mse")
    at = _LADDER.index(method)
    return tuple(name for i, name in enumerate(_LADDER) if abs(i - at) == 1) + ("mse",)


def _spread(parts: tuple[Segment, ...], by_segment: Mapping[str, str]) -> dict[int, str]:
    return {position: by_segment[segment.name] for segment in parts for position in segment.positions}


def _by_name(seen: Activations, groups: tuple[same_range.RangeGroup, ...], methods: Mapping[int, str]) -> dict[str, Range]:
    return {
        seen.model.tensors[index].name: ranges.method(method)(seen.observed(groups[position].tensors, (0, 1)))
        for position, method in methods.items()
        for index in groups[position].tensors
    }


def held_out(image: int) -> bool:
    """Whether the image of this number only measures: two in five, evenly spread, so that every class is on both sides."""
    return image % 5 in (2, 4)
