"""Latency on op lists made here: what must grow, what must not, and what no prediction may undercut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.boards import profiles
from devices.boards.records import BoardProfile
from devices.predict import core_costs, fit, footprint, latency
from tests.devices.predict.networks import FLOAT, LARGE, PI_3, PI_4, SMALL, USB, chain


@pytest.mark.parametrize("board", [board for board in profiles.BOARDS if not board.unreachable], ids=lambda board: board.name)
def test_every_board_gets_an_interval_around_the_expectation_or_nothing(board: BoardProfile) -> None:
    found = fit.on_board(LARGE, board)
    if found.latency is None:
        assert latency.fast_cluster(board) is None  # no processor, or no clock
        assert any(finding.check == "latency" for finding in found.findings)
    else:
        assert 0 < found.latency.low < found.latency.expected < found.latency.high
        assert found.latency.basis.startswith("estimate")


def test_float_is_slower_and_larger_than_int8() -> None:
    for board in (PI_4, PI_3, profiles.board("pi-5")):
        integer, floating = latency.cpu(LARGE, board), latency.cpu(FLOAT, board)
        assert integer and floating and integer.expected < floating.expected
    assert footprint.footprint(FLOAT).peak_bytes - footprint.footprint(LARGE).peak_bytes > 2 * 3 * LARGE.file_bytes


def test_threads_help_until_the_cores_end() -> None:
    times = [latency.cpu(LARGE, PI_4, threads=threads) for threads in (1, 2, 4, 8)]
    one, two, four, eight = (time.expected for time in times if time)
    assert one > two > four == eight


def test_int16_is_slow_and_unsure() -> None:
    wide = replace(
        SMALL,
        ops=tuple(replace(op, outputs=tuple(replace(out, dtype="int16") for out in op.outputs)) for op in SMALL.ops),
    )
    narrow, slow = latency.cpu(SMALL, PI_4), latency.cpu(wide, PI_4)
    assert narrow and slow and slow.expected > narrow.expected
    assert slow.high / slow.low > narrow.high / narrow.low


def test_weights_made_at_load_time_cost_nothing_per_run() -> None:
    weights = SMALL.ops[0].constants[0]
    widen = replace(
        SMALL.ops[0], name="DEQUANTIZE", inputs=(weights,), outputs=(replace(weights, index=999, is_constant=False),), macs=0
    )
    assert latency.cpu(replace(SMALL, ops=(widen, *SMALL.ops)), PI_4) == latency.cpu(SMALL, PI_4)


@pytest.mark.parametrize(
    ("board", "accelerator", "name"),
    [
        ("pi-4b", "coral-usb", "usb3-pi4"),
        ("pi-5", "coral-usb", "usb3"),
        ("pi-3b-plus", "coral-usb", "usb2"),
        ("pi-zero-2w", "coral-usb", "usb2"),
        ("cm4", "coral-m2", "pcie"),
        ("coral-dev-board", None, "pcie-dev-board"),
        ("coral-dev-board-mini", None, "internal-usb2"),
        ("pi-4b", "coral-m2", None),
        ("pi-3b-plus", "coral-pcie", None),
        ("pi-4b", None, None),
        ("coral-dev-board-micro", None, None),
    ],
)
def test_links(board: str, accelerator: str | None, name: str | None) -> None:
    found = latency.link(profiles.board(board), profiles.accelerator(accelerator) if accelerator else None)
    assert (found.name if found else None) == name


def test_streaming_sets_the_pace_of_large_networks() -> None:
    found = fit.on_board(LARGE, PI_3, USB)
    assert found.tpu and found.latency and found.cpu
    memory = found.tpu.memory
    assert memory.cached_bytes + memory.streamed_bytes == memory.weight_bytes
    assert 0 < memory.streamed_low_bytes <= memory.streamed_bytes <= memory.streamed_high_bytes
    streaming_ms = memory.streamed_bytes / latency.USB2.bytes_per_s * 1e3
    assert found.latency.expected == pytest.approx(streaming_ms + latency.USB2.start_ms, rel=0.1)
    assert any(finding.check == "streaming" for finding in found.findings)


def test_ops_on_the_cpu_cost_the_hosts_time() -> None:
    half = frozenset({0})
    link = latency.USB3_PI4
    both = latency.edgetpu(SMALL, link, mapped=frozenset({0, 1}), streamed=(0, 0, 0), board=PI_4)
    split = latency.edgetpu(SMALL, link, mapped=half, streamed=(0, 0, 0), board=PI_4)
    rest = latency.cpu(SMALL, PI_4, only=frozenset({1}))
    assert both and split and rest and split.expected > rest.expected
    assert latency.edgetpu(SMALL, link, mapped=half, streamed=(0, 0, 0), board=profiles.board("coral-dev-board-mini")) is None


def test_a_measured_run_replaces_the_guess() -> None:
    guess = latency.cpu(LARGE, PI_4)
    assert guess
    refined = latency.calibrated(guess, 2.0, "refined")
    assert refined.expected == pytest.approx(2 * guess.expected)
    assert refined.high / refined.low < guess.high / guess.low
    assert refined.refined and not guess.refined


HEAVY = {dtype: chain(*[(256, 256)] * 8, side=35, kernel=3, dtype=dtype) for dtype in ("int8", "float32")}
DENSE = {dtype: chain((25088, 4096), (4096, 4096), (4096, 1000), side=1, dtype=dtype) for dtype in ("int8", "float32")}
HYBRID = replace(
    HEAVY["float32"],
    ops=tuple(replace(op, inputs=(op.inputs[0], replace(op.constants[0], dtype="int8"), None)) for op in HEAVY["float32"].ops),
)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("board", [board for board in profiles.BOARDS if latency.cpu(SMALL, board)], ids=lambda board: board.name)
def test_no_prediction_is_faster_than_computing_or_memory_allow(board: BoardProfile, threads: int) -> None:
    cluster = latency.fast_cluster(board)
    assert cluster and cluster.clock_mhz
    cores = min(threads, cluster.count)
    # Nobody published the bandwidth of some boards.
    megabytes_per_s = (
        max(2 * board.memcpy_mb_s.value, board.memset_mb_s.value) if board.memcpy_mb_s and board.memset_mb_s else None
    )
    for network in (*HEAVY.values(), *DENSE.values(), HYBRID, SMALL, LARGE, FLOAT):
        arithmetic = "float32" if network.ops[0].constants[0].dtype == "float32" else "int8"
        peak = core_costs.PEAKS[cluster.core, arithmetic].macs_per_cycle
        for clock in latency.clocks_mhz(board):
            found = latency.cpu(network, board, threads=threads, clock_mhz=clock)
            assert found
            assert found.low >= 0.9999 * network.macs / (peak * clock * 1e3 * cores)
            if megabytes_per_s is not None and network.weight_bytes > 4 << 20:
                assert found.low >= 0.9999 * network.weight_bytes / (megabytes_per_s * 1e3)
            assert found.low <= found.expected <= found.high


def test_memory_sets_the_pace_of_dense_layers() -> None:
    pi_5 = profiles.board("pi-5")
    found = latency.cpu(DENSE["float32"], pi_5)
    assert found and found.expected == pytest.approx(latency.floor_ms(DENSE["float32"], pi_5), rel=0.3)
    convolutions, least = latency.cpu(HEAVY["float32"], pi_5), latency.floor_ms(HEAVY["float32"], pi_5)
    assert convolutions and least and convolutions.expected > 1.2 * least


def test_weights_of_a_float16_model_are_no_activations() -> None:
    first = SMALL.ops[0]
    weights = first.constants[0]
    wide = replace(weights, index=998, is_constant=False)
    widen = replace(first, name="DEQUANTIZE", inputs=(weights,), outputs=(wide,), macs=0)
    fed = replace(first, inputs=(first.inputs[0], wide, None))
    plain = latency.cpu(SMALL, PI_4)
    found = latency.cpu(replace(SMALL, ops=(widen, fed, *SMALL.ops[1:])), PI_4)
    assert plain and found and found.expected == pytest.approx(plain.expected)


def test_post_processing_runs_on_one_core() -> None:
    boxes, scores = (
        replace(SMALL.outputs[0], index=990 + i, shape=shape) for i, shape in enumerate(((1, 1917, 4), (1, 1917, 91)))
    )
    detection = replace(
        SMALL.ops[-1],
        index=len(SMALL.ops),
        name="TFLite_Detection_PostProcess",
        is_custom=True,
        inputs=(boxes, scores),
        outputs=(replace(boxes, index=995, shape=(1, 10, 4)),),
        macs=0,
    )
    network = replace(SMALL, ops=(*SMALL.ops, detection))
    extra = []
    for threads in (1, 4):
        with_it, without = latency.cpu(network, PI_4, threads=threads), latency.cpu(SMALL, PI_4, threads=threads)
        assert with_it and without
        extra.append(with_it.expected - without.expected)
    assert extra[0] == pytest.approx(extra[1], rel=0.1) and 5 < extra[1] < 9, "google-coral/edgetpu: 5.8 ms more than one class"
