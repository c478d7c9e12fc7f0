"""From costs and saliencies to a cut: whole multiples, the cheapest first, never too narrow; and the MACs that the law goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.artefact import container, graph, graph_facts
from edge.errors import UsageError
from quantize.shrinking import cost
from quantize.shrinking.cost import Law, LayerCost, Widths, block_ms
from quantize.shrinking.structure import Block, Channels

LAW = Law(ms_per_mac=1e-3, ms_per_element=0.0, where="test")
COSTS = {
    "a": LayerCost(name="a", macs=1000.0, inputs=10.0, outputs=10.0, reads=16),
    "b": LayerCost(name="b", macs=4000.0, inputs=10.0, outputs=10.0, reads=16),
    "after": LayerCost(name="after", macs=1000.0, inputs=10.0, outputs=10.0, reads=72),
}
GROUPS = (Channels(name="a", count=32, consumers=("after",)), Channels(name="b", count=40, consumers=("after",)))


def _widths(**saliency: Any) -> Widths:
    known = {"a": np.linspace(1, 2, 32), "b": np.linspace(1, 2, 40)}
    return Widths(GROUPS, {**known, **saliency}, COSTS, LAW)


def test_channels_go_in_multiples_where_they_save_most_for_their_damage() -> None:
    widths = _widths()
    assert widths.save(0.7)
    kept = widths.kept()
    assert set(kept) == {"b"}
    assert len(kept["b"]) == 32
    assert kept["b"] == tuple(range(8, 40))  # the least salient went


def test_what_is_saved_is_what_the_smaller_layers_do_not_take() -> None:
    widths = _widths()
    widths.save(3.0)
    kept = {"a": 32, "b": 40} | {name: len(left) for name, left in widths.kept().items()}
    lost = 72 - kept["a"] - kept["b"]
    left = 1.0 * kept["a"] / 32 + 4.0 * kept["b"] / 40 + 1.0 * (72 - lost) / 72
    assert widths.saved_ms == pytest.approx(6.0 - left)
    assert widths.saved_ms >= 3.0


def test_a_quarter_of_the_channels_stays_whatever_is_asked() -> None:
    widths = _widths()
    assert not widths.save(100.0)
    assert {name: len(left) for name, left in widths.kept().items()} == {"a": 8, "b": 16}


def test_a_count_that_is_no_multiple_becomes_one() -> None:
    group = Channels(name="a", count=35, consumers=())
    widths = Widths([group], {"a": np.ones(35)}, COSTS, LAW)
    widths.save(1e-6)
    assert len(widths.kept()["a"]) == 32


def test_a_block_takes_what_is_inside_and_its_sum() -> None:
    block = Block(name="after", inside=("a", "b", "no weights"))
    assert block_ms([block], COSTS, LAW) == {"after": pytest.approx(6.0)}


def test_macs_are_those_of_the_converted_file(small_artefacts: dict[str, Path], small_network: Any) -> None:
    model = graph.read(container.read(small_artefacts["float32"]).flatbuffer())
    in_file = sum(graph_facts.op_macs(op, model.tensors) for op in model.ops)
    assert cost.macs(cost.layers(small_network)) == pytest.approx(in_file, rel=1e-3)


def test_the_law_of_a_board_is_that_of_the_predictions_and_scales() -> None:
    from devices.boards import profiles

    law = Law.of(profiles.board("pi-4b", ()))
    assert law.ms(1e9, 0) == pytest.approx(2 * law.ms(5e8, 0))
    assert 15 < law.ms(1e9, 0) < 60  # four Cortex-A72 cores do 1 GMAC in int8 in that many milliseconds
    assert law.scaled(2.0).ms(1e9, 1e6) == pytest.approx(2 * law.ms(1e9, 1e6))


def test_a_board_whose_cpu_nobody_measured_is_refused() -> None:
    import dataclasses

    from devices.boards import profiles

    unknown = dataclasses.replace(profiles.board("pi-4b", ()), cpu=None)
    with pytest.raises(UsageError, match="no latency is known for the CPU of pi-4b"):
        Law.of(unknown)
