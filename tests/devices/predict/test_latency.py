"""Latency, memory and advice on op lists made here: what must grow, what must not, and what must be said."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from devices.boards import profiles
from devices.boards.records import BoardProfile
from devices.edgetpu import mapping
from devices.edgetpu import memory as edgetpu_memory
from devices.op_list import Network, Op, Operand
from devices.predict import advice, core_costs, fit, footprint, latency, resize
from devices.predict.fit import CompilerOptions
from devices.predict.footprint import MIB


def chain(*layers: tuple[int, int], side: int = 17, dtype: str = "int8", kernel: int = 1) -> Network:
    """Convolutions of ``(inputs, outputs)`` channels on ``side`` x ``side`` pixels."""
    numbers = iter(range(1000))

    def operand(shape: tuple[int, ...], constant: bool) -> Operand:
        index = next(numbers)
        return Operand(
            index=index,
            name=f"t{index}",
            shape=shape,
            dtype=dtype,
            is_constant=constant,
            is_quantized=dtype == "int8",
            is_open=False,
            values=None,
            is_zero=None,
        )

    image = operand((1, side, side, layers[0][0]), False)
    first, ops = image, []
    for index, (inputs, outputs) in enumerate(layers):
        result = operand((1, side, side, outputs), False)
        weights = operand((outputs, kernel, kernel, inputs), True)
        macs = side * side * kernel * kernel * inputs * outputs
        ops.append(
            Op(
                index=index,
                name="CONV_2D",
                version=3 if dtype == "int8" else 1,
                inputs=(image, weights, None),
                outputs=(result,),
                options={},
                is_custom=False,
                macs=macs,
            )
        )
        image = result
    weight_bytes = sum(op.constants[0].bytes for op in ops)
    return Network(ops=tuple(ops), inputs=(first,), outputs=(image,), file_bytes=weight_bytes)


SMALL = chain((64, 128), (128, 64))
LARGE = chain(*[(2048, 2048)] * 12)  # 48 MiB of int8 weights
FLOAT = chain(*[(2048, 2048)] * 12, dtype="float32")
PI_4, PI_3, ZERO = (profiles.board(name) for name in ("pi-4b", "pi-3b-plus", "pi-zero-2w"))
USB = profiles.accelerator("coral-usb")


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


def test_a_link_that_is_missing_is_a_no() -> None:
    found = fit.on_board(SMALL, PI_4, profiles.accelerator("coral-m2"))
    assert found.fits is False
    assert any(finding.check == "link" and finding.severity == "error" for finding in found.findings)
    assert not any(finding.check == "latency" for finding in found.findings), "the link is what is missing, not a figure"


def test_streaming_sets_the_pace_of_large_networks() -> None:
    found = fit.on_board(LARGE, PI_3, USB)
    assert found.tpu and found.latency and found.cpu
    memory = found.tpu.memory
    assert memory.cached_bytes + memory.streamed_bytes == memory.weight_bytes
    assert 0 < memory.streamed_low_bytes <= memory.streamed_bytes <= memory.streamed_high_bytes
    streaming_ms = memory.streamed_bytes / latency.USB2.bytes_per_s * 1e3
    assert found.latency.expected == pytest.approx(streaming_ms + latency.USB2.start_ms, rel=0.1)
    assert any(finding.check == "streaming" for finding in found.findings)


def test_whoever_chooses_coral_is_told_of_its_end() -> None:
    for board, attached in ((PI_4, USB), (profiles.board("coral-dev-board"), None)):
        (found,) = [f for f in fit.on_board(chain((64, 64), side=32), board, attached).findings if f.check == "end of life"]
        assert found.severity == "info" and "since July 2024" in found.message
    assert not [f for f in fit.on_board(chain((64, 64), side=32), PI_4).findings if f.check == "end of life"]


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


def test_float_does_not_fit_where_int8_does() -> None:
    floating, integer = fit.on_board(FLOAT, ZERO), fit.on_board(LARGE, ZERO)
    assert floating.fits is False and integer.fits is True
    assert any(finding.check == "memory" and finding.severity == "error" for finding in floating.findings)


def test_peak_activations_follow_lifetimes() -> None:
    network = chain((4, 8), (8, 16), (16, 4))
    pixels = 17 * 17
    assert network.peak_activation_bytes == pixels * (8 + 16)


def test_advice_for_a_float_model_is_int8_and_predicted() -> None:
    found = fit.on_board(FLOAT, ZERO)
    lines = advice.advise(FLOAT, found, ZERO, None)
    integer = next(line for line in lines if "int8" in line.change)
    truth = latency.cpu(LARGE, ZERO)
    assert truth and integer.expected_ms == pytest.approx(truth.expected)
    assert found.cpu and integer.instead_of_ms == found.cpu.expected


def test_advice_is_refined_like_the_prediction_and_says_where_it_is_not() -> None:
    network = chain((64, 64), (64, 64), side=299, dtype="float32")

    def refine(changed: Network, found: fit.BoardFit) -> fit.BoardFit:
        """Four times slower than predicted, known for floats on a Pi 4."""
        if found.cpu is None or found.board != PI_4.name or changed.ops[0].outputs[0].dtype != "float32":
            return found
        return replace(found, cpu=latency.calibrated(found.cpu, 4.0, "measured"))

    plain = fit.on_board(network, PI_4)
    before = {line.change: line for line in advice.advise(network, plain, PI_4, None, others=(PI_3, ZERO))}
    lines = advice.advise(network, refine(network, plain), PI_4, None, others=(PI_3, ZERO), refine=refine)
    assert plain.latency and all(line.instead_of_ms == pytest.approx(4 * plain.latency.expected) for line in lines)
    sizes = [line for line in lines if line.change.startswith("input of")]
    assert len(sizes) == 3
    for line in sizes:
        was = before[line.change].expected_ms
        assert was is not None and line.expected_ms == pytest.approx(4 * was)
    assert not any("measure both" in line.cost for line in [*before.values(), *sizes])
    others = [line for line in lines if line not in sizes]
    assert {line.cost.split(";")[0] for line in others} >= {"another board", "needs representative images"}
    assert all("the time now is refined by measured runs and the time then is not: measure both" in line.cost for line in others)


def test_advice_compares_with_other_boards_at_the_same_threads() -> None:
    pi_5, pi_500 = profiles.board("pi-5"), profiles.board("pi-500")
    network = chain(*[(512, 512)] * 8, side=149)
    alone = fit.on_board(network, pi_5, threads=1)
    assert not [
        line for line in advice.advise(network, alone, pi_5, None, others=(pi_500,), threads=1) if line.change == pi_500.title
    ]
    slow = fit.on_board(network, PI_4, threads=1)
    (line,) = [
        line for line in advice.advise(network, slow, PI_4, None, others=(pi_500,), threads=1) if line.change == pi_500.title
    ]
    then = latency.cpu(network, pi_500, threads=1)
    assert then and line.expected_ms == pytest.approx(then.expected)


@pytest.mark.parametrize(
    ("name", "custom", "words"),
    [
        ("FlexErf", True, "SELECT_TF_OPS"),
        ("PosenetDecoderOp", True, "without it"),
        ("STABLEHLO_SORT", False, "built-in ops"),
        ("TFLite_Detection_PostProcess", True, None),
        ("NumericVerify", True, None),
        ("STABLEHLO_ADD", False, None),
    ],
)
def test_an_op_that_no_interpreter_has_is_a_no(name: str, custom: bool, words: str | None) -> None:
    strange = replace(SMALL.ops[1], name=name, is_custom=custom, version=1)
    found = fit.on_board(replace(SMALL, ops=(SMALL.ops[0], strange)), PI_4)
    errors = [finding for finding in found.findings if finding.check == "ops"]
    assert found.fits is (words is None)
    if words is not None:
        (error,) = errors
        assert error.severity == "error" and f"op 1 is {name}" in error.message and words in error.message


def test_a_board_with_two_clocks_says_both() -> None:
    found = fit.on_board(LARGE, PI_4)
    assert latency.clocks_mhz(PI_4) == (1500, 1800) and found.cpu and found.boosted
    assert found.boosted.expected == pytest.approx(found.cpu.expected * 1500 / 1800, rel=0.01)
    (finding,) = [finding for finding in found.findings if finding.check == "clock"]
    assert "1800 MHz" in finding.message and f"{found.boosted.expected:.3g} ms" in finding.message
    assert f"{found.cpu.expected:.3g} ms at 1500 MHz" in finding.message and finding.severity == "info"
    known = fit.on_board(LARGE, PI_4, clock_mhz=1800)
    assert known.boosted is None and known.cpu == found.boosted
    assert not any(finding.check == "clock" for finding in known.findings)
    assert not any(finding.check == "clock" for finding in fit.on_board(LARGE, profiles.board("pi-5")).findings)


def test_advice_takes_the_cpu_where_the_link_is_slower() -> None:
    light = chain(*[(2048, 2048)] * 12, side=8)
    found = fit.on_board(light, PI_3, USB)
    changes = [line.change for line in advice.advise(light, found, PI_3, USB)]
    assert any("CPU instead" in change for change in changes)
    assert any("Edge TPUs in a pipeline" in change for change in changes)
    fast = fit.on_board(SMALL, PI_4, USB)
    assert not any("pipeline" in line.change for line in advice.advise(SMALL, fast, PI_4, USB))


def test_a_smaller_input_does_not_help_a_link_that_streams() -> None:
    network = chain(*[(1024, 1024)] * 30, side=299)
    small = resize.resized(network, 128)
    assert small is not None
    on_tpu, smaller = fit.on_board(network, PI_3, USB), fit.on_board(small, PI_3, USB)
    assert on_tpu.tpu and smaller.tpu
    assert smaller.tpu.memory.weight_bytes == on_tpu.tpu.memory.weight_bytes
    assert small.macs == pytest.approx(network.macs * (128 / 299) ** 2, rel=0.01)
    cpu_now, cpu_then = on_tpu.cpu, smaller.cpu
    assert cpu_now and cpu_then and cpu_then.expected == pytest.approx(cpu_now.expected * (128 / 299) ** 2, rel=0.05)


def test_kernels_without_padding_are_followed() -> None:
    options = {"padding": 1, "stride_h": 2, "stride_w": 2}
    network = chain((3, 8), side=15, kernel=3)
    result = replace(network.ops[0].outputs[0], shape=(1, 7, 7, 8))
    op = replace(network.ops[0], outputs=(result,), options=options, macs=7 * 7 * 9 * 3 * 8)
    network = replace(network, ops=(op,), outputs=(result,))
    larger = resize.resized(network, 299)
    assert larger is not None
    assert larger.outputs[0].shape == (1, 149, 149, 8)
    assert larger.macs == 149 * 149 * 9 * 3 * 8
    assert resize.resized(network, 2) is None


def test_advice_names_the_op_that_strands_the_others() -> None:
    blocked = replace(SMALL, ops=(SMALL.ops[0], replace(SMALL.ops[1], name="LEAKY_RELU", version=2)))
    found = fit.on_board(blocked, PI_4, USB)
    assert found.tpu and found.tpu.prediction.mapped == 1
    assert any(finding.check == "mapping" and "LEAKY_RELU" in finding.message for finding in found.findings)
    assert "ReLU" in advice.advise(blocked, found, PI_4, USB)[0].change


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


def test_very_large_activations_are_warned_of() -> None:
    found = fit.on_board(chain((64, 64), side=1024), PI_4, USB)
    warning = next(finding for finding in found.findings if finding.check == "activations")
    assert warning.severity == "warning" and "op 0 moves 128 MiB" in warning.message and "smaller input" in warning.message
    assert not any(finding.check == "activations" for finding in fit.on_board(chain((64, 64), side=512), PI_4, USB).findings)


def test_advice_says_why_the_cpu_is_faster() -> None:
    tiny = chain((8, 8), side=8)
    lines = advice.advise(tiny, fit.on_board(tiny, PI_4, USB), PI_4, USB)
    (cpu,) = [line.change for line in lines if "CPU instead" in line.change]
    assert "longer to start" in cpu


def test_the_compiler_options_reach_the_prediction() -> None:
    old = fit.on_board(SMALL, PI_4, USB, options=CompilerOptions(min_runtime=11))
    assert old.tpu and old.tpu.prediction.mapped == 0
    assert set(mapping.COMPILERS) == {"16.0", "15.0", "14.1", "2.1"}


@pytest.fixture(scope="module")
def published() -> ModuleType:
    """The published measurements, and the fit that leaves one network out (``benchmarks/latency_model.py``)."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "latency_model.py"
    spec = importlib.util.spec_from_file_location("latency_model", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        sys.path.insert(0, str(path.parent))
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def test_published_measurements_are_predicted_from_the_other_networks(published: ModuleType) -> None:
    errors: dict[str, list[float]] = {"cpu": [], "edgetpu": [], "Cortex-A76": []}
    for core, arithmetic in published.CPU_CLASSES:
        found = [abs(row["error"]) for row in published.left_out_cpu(core, arithmetic)]
        errors["cpu"] += found
        errors.setdefault(core, []).extend(found)
    for link in latency.LINKS:
        own = [row for row in published.PUBLISHED["rows"] if row.get("link") == link.name]
        errors["edgetpu"] += [abs(row["error"]) for row in published.leave_one_out(own, published.fitted_link)]
    medians = {kind: sorted(found)[len(found) // 2] for kind, found in errors.items()}
    assert len(errors["edgetpu"]) > 50 and medians["edgetpu"] <= 0.15
    assert len(errors["cpu"]) > 100 and medians["cpu"] <= 0.25
    assert len(errors["Cortex-A76"]) == 14 and medians["Cortex-A76"] <= 0.25


CLASSES = [(core, kind) for core in ("Cortex-A53", "Cortex-A72", "Cortex-A76") for kind in ("float32", "int8")]


@pytest.mark.parametrize(("core", "arithmetic"), CLASSES)
def test_the_interval_of_a_core_holds_nine_left_out_rows_in_ten(published: ModuleType, core: str, arithmetic: str) -> None:
    cost, rows = core_costs.CORES[core, arithmetic], published.left_out_cpu(core, arithmetic)
    assert published.inside(rows, cost.spread) >= 0.9 * len(rows)
    shipped = [published.compared(row, published.cpu_time(row, cost)) for row in rows]
    assert published.inside(shipped, cost.spread) >= 0.9 * len(rows)


@pytest.mark.parametrize(("core", "arithmetic"), CLASSES)
def test_the_shipped_constants_are_what_the_fit_gives(published: ModuleType, core: str, arithmetic: str) -> None:
    cost, fitted = core_costs.CORES[core, arithmetic], published.fitted_cost(core, arithmetic)
    assert cost.macs_per_cycle == pytest.approx(fitted.macs_per_cycle, rel=0.01)
    assert cost.elements_per_cycle == pytest.approx(fitted.elements_per_cycle, rel=0.01)
    assert cost.compute_scaling == pytest.approx(fitted.compute_scaling, abs=0.01)
    assert cost.memory_scaling == pytest.approx(fitted.memory_scaling, abs=0.01)


@pytest.mark.parametrize(("core", "arithmetic"), core_costs.CORES)
def test_no_constant_is_above_what_the_core_can_do(core: str, arithmetic: str) -> None:
    cost, peak = core_costs.CORES[core, arithmetic], core_costs.PEAKS[core, arithmetic]
    assert peak.source and cost.macs_per_cycle < peak.macs_per_cycle
    assert cost.elements_per_cycle * (4 if arithmetic == "float32" else 1) < peak.bytes_per_cycle
    for gains in (cost.compute_scaling, cost.memory_scaling):
        assert gains[0] == 1.0 and all(1.0 < gain < n for n, gain in enumerate(gains[1:], start=2))


def test_published_rows_are_slower_than_the_core_can_be(published: ModuleType) -> None:
    rows = [row for row in published.PUBLISHED["rows"] if row["kind"] == "cpu" and "runtime" not in row]
    assert len(rows) == 110
    for row in rows:  # ncnn's are left out: Winograd convolutions need fewer MACs than are counted
        peak = core_costs.PEAKS[row["core"], row["arithmetic"]].macs_per_cycle
        least = published.NETWORKS[row["network"]]["macs"] / (peak * row["clock_mhz"] * 1e3 * row["threads"])
        assert row["ms"] > least, row


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


@pytest.mark.parametrize("link", latency.LINKS, ids=lambda link: link.name)
def test_the_interval_of_a_link_holds_nine_published_rows_in_ten(published: ModuleType, link: latency.Link) -> None:
    own = [row for row in published.PUBLISHED["rows"] if row.get("link") == link.name]
    if not own:
        assert link.spread >= 1.75 and "no measurement" in link.basis
        return
    outside = [row for row in own if abs(math.log(published.tpu_time(row, link) / row["ms"])) > math.log(link.spread)]
    assert len(outside) <= 0.1 * len(own), outside
    left_out = published.leave_one_out(own, published.fitted_link)
    missed = [row for row in left_out if abs(math.log(row["predicted_ms"] / row["ms"])) > math.log(link.spread)]
    assert len(missed) <= 0.1 * len(own), missed
    if link.spread > 1.3:
        assert "wide" in link.basis, "a wide interval says why"
