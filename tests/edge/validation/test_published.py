"""A run against a published accuracy: the interval of independent proportions, and what is said with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli import main
from edge.errors import UsageError
from edge.numbers import statistics
from edge.validation import published


def test_the_intervals_of_newcombe() -> None:
    """Examples (a) and (h) of his table II, 1998: 56/70 against 48/80, and 10/10 against 0/10, by method 10."""
    low, high = statistics.independent_interval(56 / 70, 70, 48 / 80, 80)
    assert low == pytest.approx(0.0524, abs=5e-5)
    assert high == pytest.approx(0.3339, abs=5e-5)
    low, high = statistics.independent_interval(1.0, 10, 0.0, 10)
    assert low == pytest.approx(0.6075, abs=5e-5)
    assert high == 1.0


def test_a_published_rate_without_its_sample_is_exact() -> None:
    low, high = statistics.independent_interval(0.5, 100, 0.5, None)
    assert (low, high) == pytest.approx(tuple(edge - 0.5 for edge in statistics.wilson_interval(0.5, 100)))
    wider = statistics.independent_interval(0.5, 100, 0.5, 100)
    assert wider[0] < low
    assert wider[1] > high
    with pytest.raises(ValueError, match="at least one"):
        statistics.wilson_interval(0.5, 0)


def test_cards() -> None:
    card = published.parse("omz:inception-resnet-v2-tf")
    assert (card.top1, card.top5, card.images, card.crop_fraction) == (0.7782, 0.9403, 50_000, 0.875)
    card = published.parse("top1=0.7782, top5=0.9403,images=50000")
    assert (card.top1, card.top5, card.images) == (0.7782, 0.9403, 50_000)
    assert published.parse("top5=0.9").top1 is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("omz:vgg", "is not known, expected omz:inception-resnet-v2-tf"),
        ("top1=77.82", "expected a fraction between 0 and 1"),
        ("top1=x", "expected a number"),
        ("top2=0.5", "expected top1, top5 and images, each once"),
        ("top1=0.5,top1=0.6", "each once"),
        ("images=100", "expected top1 or top5"),
        ("top1=0.5,images=0", "images of 1 or more"),
    ],
)
def test_what_is_no_card(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        published.parse(text)


def test_validate_compares(small_artefacts: dict[str, Path], few_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", str(small_artefacts["int8"]), "--images", str(few_digits / "test"), "--no-resume"]
    assert main([*words, "--published", "top1=0.10,top5=0.97,images=200", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = report["published"]["rates"]["top1"]
    assert found["measured"] == report["candidate"]["top1"]
    assert found["difference"] == pytest.approx(found["measured"] - 0.10)
    assert found["ci95"][0] < found["difference"] < found["ci95"][1]
    assert found["says"] == "higher"
    assert report["published"]["rates"]["top5"]["says"] == "no difference shown"
    assert "80 images of 10 classes here" in report["published"]["remarks"][0]
    assert main([*words, "--published", "omz:inception-resnet-v2-tf"]) == 0
    text = capsys.readouterr().out
    assert "published (omz:inception-resnet-v2-tf)" in text
    assert "the difference is one between the images as well as between the networks" in text
    assert "the card's pictures are cropped to 0.875 of each side, these to 1" in text
    assert main([*words, "--unlabelled", "--published", "top1=0.5"]) == 2
    assert "can only be compared with labelled images" in capsys.readouterr().err
