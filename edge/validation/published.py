"""Published accuracies, and what a run on a sample says about them: a difference with its interval, and what it does not say.

A model card gives rates over its own images. Ours are over others, or over some of them, and nobody's answers to single images are
known: the two proportions are compared as independent ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..numbers import statistics

if TYPE_CHECKING:
    from ..artefact.contract import InputSpec
    from .outcome import Outcome

METHOD = "Newcombe 1998 hybrid score interval for independent proportions"
NO_EVIDENCE, LOWER, HIGHER = "no difference shown", "lower", "higher"
_RATES = ("top1", "top5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What was published. ``images`` is None where that is not said; ``classes`` and ``crop_fraction`` likewise."""

    name: str
    top1: float | None = None
    top5: float | None = None
    images: int | None = None
    dataset: str = ""
    classes: int | None = None
    crop_fraction: float | None = None
    source: str = ""


_IMAGENET = "the validation images of ImageNet (ILSVRC 2012)"
CARDS = (
    Card(
        name="omz:inception-resnet-v2-tf",
        top1=0.7782,
        top5=0.9403,
        images=50_000,
        dataset=_IMAGENET,
        classes=1000,
        crop_fraction=0.875,
        source="https://github.com/openvinotoolkit/open_model_zoo/blob/master/models/public/inception-resnet-v2-tf/README.md",
    ),
    Card(
        name="keras:InceptionResNetV2",
        top1=0.803,
        top5=0.953,
        images=50_000,
        dataset=_IMAGENET,
        classes=1000,
        crop_fraction=None,
        source="https://keras.io/api/applications/",
    ),
)


def parse(text: str) -> Card:
    """Return a known card by name, or one of numbers: ``top1=0.7782,top5=0.9403,images=50000``. Raises UsageError."""
    known = {card.name: card for card in CARDS}
    if text in known:
        return known[text]
    if "=" not in text:
        raise UsageError(f"published {text!r} is not known, expected {', '.join(known)} or top1=0.7782,top5=0.9403,images=50000")
    rates: dict[str, float] = {}
    images: int | None = None
    for part in text.split(","):
        key, _, value = part.partition("=")
        key = key.strip()
        if key not in (*_RATES, "images") or key in rates:
            raise UsageError(f"published {part.strip()!r}, expected top1, top5 and images, each once")
        try:
            if key == "images":
                images = int(value)
            else:
                rates[key] = float(value)
        except ValueError:
            raise UsageError(f"published {key} is {value!r}, expected a number") from None
    for key, rate in rates.items():
        if not 0.0 < rate < 1.0:
            raise UsageError(f"published {key} is {rate:g}, expected a fraction between 0 and 1 (77.82 % is 0.7782)")
    if not rates or (images is not None and images < 1):
        raise UsageError(f"published {text!r}, expected top1 or top5, and images of 1 or more")
    return Card(name=text, top1=rates.get("top1"), top5=rates.get("top5"), images=images)


def compare(report: Outcome, card: Card, *, fed: InputSpec) -> dict[str, Any]:
    """Return ``report`` against ``card`` as plain data: per rate measured, published, ``difference`` (measured minus published),
    ``ci95`` and ``says``, and the remarks that belong to it. fed: the contract's input.

    Raises UsageError where the report has no accuracy.
    """
    head = report.headline
    if head is None or head.candidate is None:
        raise UsageError("a published accuracy can only be compared with labelled images and an output with classes")
    rates = {}
    for key in _RATES:
        published = getattr(card, key)
        if published is None:
            continue
        measured = float(getattr(head.candidate, key))
        low, high = statistics.independent_interval(measured, report.images, published, card.images)
        says = LOWER if high < 0.0 else HIGHER if low > 0.0 else NO_EVIDENCE
        rates[key] = {
            "measured": measured,
            "published": published,
            "difference": measured - published,
            "ci95": [low, high],
            "says": says,
        }
    classes = sum(1 for row in head.per_class if row.images)
    return {
        **dataclasses.asdict(card),
        "rates": rates,
        "method": METHOD,
        "remarks": list(_remarks(report.images, classes, card, fed)),
    }


def _remarks(images: int, classes: int, card: Card, fed: InputSpec) -> tuple[str, ...]:
    remarks = []
    if card.images is None:
        remarks.append("over how many images it was measured is not said, so it is taken as exact (images=N)")
    there = f"{card.images:,} images" if card.images else "other images"
    if card.dataset:
        there = f"{card.dataset}, {there}" if card.images else card.dataset
    here = f"{images:,} images of {classes:,} classes"
    if card.classes is not None and (images, classes) == (card.images, card.classes):
        remarks.append(f"{here} here, as many as the card has; whether they are the same, edgekit cannot know")
    else:
        remarks.append(
            f"{here} here, {there} there: unless yours are a random part of the card's, the difference is one between"
            " the images as well as between the networks"
        )
    if card.crop_fraction is not None and fed.crop_fraction != card.crop_fraction:
        remarks.append(f"the card's pictures are cropped to {card.crop_fraction:g} of each side, these to {fed.crop_fraction:g}")
    return tuple(remarks)


def text(published: Mapping[str, Any]) -> list[str]:
    """Return the comparison as lines."""
    lines = [
        f"  published ({published['name']}):",
        f"    {'':8}{'measured':>10}{'published':>11}{'difference':>12}   95 % interval",
    ]
    for key, rate in published["rates"].items():
        low, high = (100 * value for value in rate["ci95"])
        name = key.replace("top", "top-")
        lines.append(
            f"    {name:8}{rate['measured']:>10.2%}{rate['published']:>11.2%}{100 * rate['difference']:>+12.2f}"
            f"   {low:+.2f} to {high:+.2f} points: {rate['says']}"
        )
    return [*lines, *(f"    {remark}" for remark in published["remarks"])]
