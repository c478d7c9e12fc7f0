"""The order in which blocks go: the least damage for each millisecond, measured again while others go, and taken up where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.shrinking import networks, surgery
from quantize.shrinking.answers import Judge
from quantize.shrinking.ranking import Gates, Removal, rank
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut
from tests.quantize.shrinking.residual_digits import digit_tensors

pytestmark = pytest.mark.converts

NAMES = ["a", "b", "c", "d"]


def _order(removals: Sequence[Removal]) -> list[str]:
    return [removal.block for removal in removals]


def test_damage_is_weighed_against_milliseconds() -> None:
    damages = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 4.0}
    ms = {"a": 1.0, "b": 4.0, "c": 0.1, "d": 1.0}
    found = rank(NAMES, lambda without: sum(damages[name] for name in without), ms)
    assert _order(found) == ["b", "a", "d", "c"]
    assert found[-1].damage == pytest.approx(7.5)
    assert [removal.saved_ms for removal in found] == pytest.approx([4.0, 5.0, 6.0, 6.1])


def test_two_blocks_that_stand_in_for_each_other_do_not_go_one_after_the_other() -> None:
    def damage(without: Sequence[str]) -> float:
        together = 10.0 if {"a", "b"} <= set(without) else 0.0
        return 0.1 * len(without) + together + ("c" in without) + 2 * ("d" in without)

    found = rank(NAMES, damage, dict.fromkeys(NAMES, 1.0))
    assert _order(found)[1:3] == ["c", "d"]
    assert {_order(found)[0], _order(found)[3]} == {"a", "b"}


def test_an_interrupted_ranking_goes_on_with_what_it_knows() -> None:
    damages = dict(zip(NAMES, (4.0, 3.0, 2.0, 1.0), strict=True))

    def damage(without: Sequence[str]) -> float:
        return sum(damages[name] for name in without)

    kept: list[Sequence[Removal]] = []
    whole = rank(NAMES, damage, dict.fromkeys(NAMES, 1.0), keep=lambda removals: kept.append(tuple(removals)))
    assert rank(NAMES, damage, dict.fromkeys(NAMES, 1.0), known=kept[1]) == whole
    assert [len(each) for each in kept] == [1, 2, 3, 4]


def test_beyond_what_is_needed_nothing_is_measured_again() -> None:
    asked: list[int] = []

    def damage(without: Sequence[str]) -> float:
        asked.append(len(without))
        return float(len(without))

    assert len(rank(NAMES, damage, dict.fromkeys(NAMES, 1.0), until_ms=1.5)) == 4
    assert asked.count(1) == 8
    assert max(asked) == 2


def test_gates_say_what_the_network_without_the_blocks_says(residual: Any, digits_folder: Path) -> None:
    tensors = digit_tensors(digits_folder / "test")[0][:50]
    answers = networks.answers(residual, [tensors])
    judge = Judge.of(residual.contract.outputs, answers)
    structure = look(residual.model)
    names = [block.name for block in structure.blocks]
    gates = Gates(residual, surgery.gated(residual.model, structure), structure, judge, [tensors])
    assert gates.damage([]) == pytest.approx(0.0, abs=1e-5)
    without = [names[0], names[3]]
    cut = networks.with_model(residual, surgery.apply(residual.model, Cut(blocks=frozenset(without), kept={}, size=None)))
    real = np.mean(judge.divergence(networks.answers(cut, [tensors]), answers))
    assert gates.damage(without) == pytest.approx(float(real), rel=1e-3)
    assert real > 0.01
    gates.keep_within(1e9)
    assert gates.damage(without) == pytest.approx(float(real), rel=1e-3)
    gates.keep_within(0.0)  # no time at all: the first sixteen photos
    few = judge.divergence(*({n: v[:16] for n, v in networks.answers(s, [tensors]).items()} for s in (cut, residual)))
    assert gates.damage(without) == pytest.approx(float(np.mean(few)), rel=1e-3)
