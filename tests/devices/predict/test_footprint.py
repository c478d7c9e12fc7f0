"""Memory: activations, and what of the weights stays on an Edge TPU."""

from __future__ import annotations

from devices.edgetpu import memory as edgetpu_memory
from devices.predict import fit
from devices.predict.footprint import MIB
from tests.devices.predict.networks import LARGE, PI_4, SMALL, USB, chain


def test_small_networks_stay_on_the_chip() -> None:
    found = fit.on_board(SMALL, PI_4, USB)
    assert found.tpu and found.tpu.memory.streamed_bytes == 0 and found.fits


def layer(inputs: int, outputs: int, kernel: int) -> int:
    return edgetpu_memory.padded_bytes(chain((inputs, outputs), kernel=kernel).ops[0])


def test_weights_take_what_the_compiler_logged() -> None:
    # KiB of the first and of further layers in the published sweep: 3x3 convolutions of F filters, one pipeline segment each.
    logged = {32: (2.75, 18.5), 42: (2.75, 25.25), 72: (5.5, 82.0), 132: (8.25, 224.25), 202: (11.0, 461.0)}
    for filters, (first, further) in logged.items():
        assert layer(3, filters, 3) == first * 1024
        assert layer(filters, filters, 3) == further * 1024


def test_a_pipeline_is_cut_where_the_compiler_cut_it() -> None:
    network = chain((3, 64), *[(64, 64)] * 4, kernel=3)
    sizes = {op.index: edgetpu_memory.padded_bytes(op) for op in network.ops}
    assert [len(part) for part in edgetpu_memory.split(network.ops, sizes, 2)] == [2, 3]
    assert [len(part) for part in edgetpu_memory.split(network.ops, sizes, 4)] == [1, 1, 1, 2]


def test_segments_keep_more_on_the_chips() -> None:
    one, four = (edgetpu_memory.estimate(LARGE, range(len(LARGE.ops)), segments=count) for count in (1, 4))
    assert four.streamed_bytes < one.streamed_bytes
    assert sum(segment.weight_bytes for segment in four.segments) == four.weight_bytes == one.weight_bytes


def test_models_compiled_before_take_the_cache() -> None:
    alone = edgetpu_memory.estimate(LARGE, range(len(LARGE.ops)))
    second = edgetpu_memory.estimate(LARGE, range(len(LARGE.ops)), reserved_bytes=alone.cached_bytes)
    assert second.cached_bytes == 0 and second.streamed_bytes == alone.weight_bytes


def test_large_activations_leave_less_room() -> None:
    low, expected, high = edgetpu_memory.capacity(0)
    assert low < expected < high < 8 * MIB
    assert edgetpu_memory.capacity(12 * MIB)[1] < 2 * MIB


def test_peak_activations_follow_lifetimes() -> None:
    network = chain((4, 8), (8, 16), (16, 4))
    pixels = 17 * 17
    assert network.peak_activation_bytes == pixels * (8 + 16)
