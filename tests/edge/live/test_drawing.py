"""Words and lines that are drawn into a frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge.live import drawing
from edge.runtime.golden import pattern


def test_words_are_drawn_in_the_corner_and_the_rest_of_the_frame_is_left_alone() -> None:
    pixels = np.full((480, 640, 3), 90, np.uint8)
    before = pixels.copy()
    drawn = drawing.draw(pixels, ["roses 97.3%", "11.2 ms"])
    np.testing.assert_array_equal(pixels, before)
    assert drawn.shape == pixels.shape
    assert drawn[:60, :200].max() > 200  # white letters
    assert drawn[:60, :200].min() < 60  # on a darkened ground
    np.testing.assert_array_equal(drawn[100:], pixels[100:])
    np.testing.assert_array_equal(drawn[:, 400:], pixels[:, 400:])


def test_small_frames_are_enlarged_by_a_whole_number() -> None:
    pixels = pattern("noise-1", 72, 96)
    drawn = drawing.draw(pixels, [])
    assert drawn.shape == (288, 384, 3)
    np.testing.assert_array_equal(drawn[::4, ::4], pixels)


@pytest.mark.parametrize("line", ["a label " * 40, "Übergröße 12 %", "\N{GREEK SMALL LETTER ALPHA} 1 %", "", "\n"])
def test_any_line_can_be_drawn(line: str) -> None:
    pixels = np.zeros((100, 320, 3), np.uint8)
    assert drawing.draw(pixels, [line] * 30).shape == pixels.shape


def test_a_long_line_ends_inside_the_frame() -> None:
    drawn = drawing.draw(np.zeros((100, 320, 3), np.uint8), ["W" * 500])
    assert drawn[:20, 280:310].max() > 150  # as much of it as fits
    assert drawn[:, 315:].max() == 0
