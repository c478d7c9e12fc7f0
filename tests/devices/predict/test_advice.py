"""What is advised for a network and a board."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.boards import profiles
from devices.op_list import Network
from devices.predict import advice, fit, latency, resize
from tests.devices.predict.networks import FLOAT, LARGE, PI_3, PI_4, SMALL, USB, ZERO, chain


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


def test_advice_says_why_the_cpu_is_faster() -> None:
    tiny = chain((8, 8), side=8)
    lines = advice.advise(tiny, fit.on_board(tiny, PI_4, USB), PI_4, USB)
    (cpu,) = [line.change for line in lines if "CPU instead" in line.change]
    assert "longer to start" in cpu
