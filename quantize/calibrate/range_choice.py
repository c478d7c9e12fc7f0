"""What the search for ranges found, and what is known of its gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.numbers import statistics
from edge.validation.findings import WARNING, Finding

from .output_error import Floats
from .ranges import Range


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
