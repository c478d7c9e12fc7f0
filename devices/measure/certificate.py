"""Do two machines compute the same bits? Compares two fingerprints (`edge.validation.fingerprint`) and says what follows.

If all outputs are bit-equal on a number of images, an accuracy that was measured on one machine holds on the other: an integer
model does the same whole-number operations on every image, with these kernels. The converse is reported too: how many images
differ, by how many quantization steps, and which op is the first to differ.
"""

from __future__ import annotations

import base64
import binascii
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import RemoteError
from ..transport.shell import one_line

_CODES = {"int8": "b", "uint8": "B", "int16": "h", "int32": "i", "int64": "q", "float32": "f"}
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How the answers of a board compare with this machine's. ``steps`` counts quantization steps (None where the outputs are not
    integers), ``difference`` is the largest of float outputs. ``first_op`` is the first op whose result differs, of the ``ops`` that
    were traced for one image.
    """

    images: int
    equal: int
    values: int
    values_different: int
    steps: int | None
    difference: float | None
    first_op: str | None
    ops: int
    ops_equal: int
    integer: bool
    here: str
    there: str

    @property
    def bit_equal(self) -> bool:
        return self.images > 0 and self.equal == self.images

    @property
    def carries_over(self) -> bool:
        """Whether an accuracy measured here holds there.

        A few outputs may be equal by luck, millions of values between the ops are not. Float kernels may add up in another order on
        the next image.
        """
        return self.bit_equal and self.integer and 0 < self.ops == self.ops_equal

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bit_equal": self.bit_equal, "carries_over": self.carries_over}

    def to_text(self) -> str:
        if self.carries_over:
            return (
                f"bit-equal: on all {self.images} images the board ({self.there}) gave the same bits as this machine ({self.here}), on"
                f" one of them in all {self.ops} ops. An integer model does the same operations on every image, so an accuracy"
                " measured here with these kernels holds there."
            )
        if self.bit_equal:
            if not self.integer:
                why = "the model computes with floats, which may be added up in another order on another image"
            elif self.first_op:
                why = f"ops differ within ({self.first_op} is the first)"
            else:
                why = "the ops in between could not be compared"
            return (
                f"the outputs for {self.images} images are bit-equal ({self.there} against {self.here} here), but {why}; the accuracy"
                " measured here is no proof for there."
            )
        much = f"by at most {self.steps} quantization steps" if self.steps is not None else ""
        much = f"by at most {self.difference:.2g}" if self.difference is not None and not much else much
        first = f"; the first op that differs is {self.first_op}" if self.first_op else ""
        return (
            f"not bit-equal: {self.images - self.equal} of {self.images} images differ, {self.values_different:,} of"
            f" {self.values:,} values{' ' if much else ''}{much} ({self.there} against {self.here} here){first}."
            " What is measured here does not hold there."
        )


def compare(here: Mapping[str, Any], there: Mapping[str, Any], *, where: str) -> Certificate:
    """Compare two fingerprints of the same model over the same images. ``there`` is what a board sent, and not trusted.

    Raises RemoteError if it is no fingerprint, or one of other images or of another model.
    """
    try:
        return _compare(here, there)
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, binascii.Error) as error:
        raise RemoteError(f"{where}: its fingerprint cannot be compared ({one_line(str(error), 120)})") from error


def _compare(here: Mapping[str, Any], there: Mapping[str, Any]) -> Certificate:
    if here["model_sha256"] != there["model_sha256"]:
        raise ValueError("it is of another model")
    theirs = {str(image["id"]): image for image in there["images"]}
    missing = [image["id"] for image in here["images"] if image["id"] not in theirs]
    if missing:
        raise ValueError(f"{len(missing)} images are missing, the first is {missing[0]}")
    equal = values = different = 0
    steps: int | None = None
    difference: float | None = None
    for mine in here["images"]:
        image = theirs[mine["id"]]
        if image["sha256"] != mine["sha256"]:
            raise ValueError(f"image {mine['id']} is another file there")
        same = True
        for name, answer in mine["outputs"].items():
            other = image["outputs"][name]
            if answer["dtype"] != other["dtype"]:
                raise ValueError(f"output {name} has another type there")
            count, unequal, most = _difference(answer, other)
            values, different = values + count, different + unequal
            same = same and answer["sha256"] == other["sha256"]
            if most is not None and answer["dtype"].startswith("float"):
                difference = max(difference or 0.0, most)
            elif most is not None:
                steps = max(steps or 0, int(most))
        equal += same
    return Certificate(
        images=len(here["images"]),
        equal=equal,
        values=values,
        values_different=different,
        steps=steps,
        difference=difference,
        first_op=first_different_op(here, there),
        ops=min(len(here["ops"]), len(there["ops"])),
        ops_equal=sum(a["sha256"] == b["sha256"] for a, b in zip(here["ops"], there["ops"], strict=False)),
        integer=here["arithmetic"] == "integer",
        here=_runtime(here),
        there=_runtime(there),
    )


def first_different_op(here: Mapping[str, Any], there: Mapping[str, Any]) -> str | None:
    """Return the first op of the traced image whose result differs; None where none does, or nothing was traced."""
    for mine, other in zip(here["ops"], there["ops"], strict=False):
        if mine["sha256"] != other["sha256"]:
            return f"{mine['op']} {mine['index']} ({one_line(str(mine['tensor']), 80)})"
    return None


def _difference(mine: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[int, int, float | None]:
    """Return how many values there are, how many differ, and the largest difference; (0, 0, None) where only hashes are known."""
    if mine["values"] is None or other["values"] is None:
        return 0, 0, None
    pairs = list(zip(_decoded(mine), _decoded(other), strict=True))
    return len(pairs), sum(a != b for a, b in pairs), max((abs(a - b) for a, b in pairs), default=0)


def _decoded(answer: Mapping[str, Any]) -> Iterator[float]:
    data = zlib.decompressobj().decompress(base64.b64decode(answer["values"], validate=True), _MOST_BYTES)
    found = array(_CODES[answer["dtype"]], data)
    if sys.byteorder == "big":
        found.byteswap()
    return iter(found)


def _runtime(fingerprint: Mapping[str, Any]) -> str:
    runtime = fingerprint["runtime"]
    text = f"{runtime['package']} {runtime['version']}, {runtime['kernels']} kernels, {fingerprint['machine']}"
    return one_line(text, 120)
