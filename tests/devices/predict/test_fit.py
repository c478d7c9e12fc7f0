"""Whether a network runs on a board, and what must be said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.boards import profiles
from devices.edgetpu import mapping
from devices.predict import fit, footprint, latency
from devices.predict.fit import CompilerOptions
from devices.predict.footprint import MIB
from tests.devices.predict.networks import FLOAT, LARGE, PI_4, SMALL, USB, ZERO, chain


def test_a_link_that_is_missing_is_a_no() -> None:
    found = fit.on_board(SMALL, PI_4, profiles.accelerator("coral-m2"))
    assert found.fits is False
    assert any(finding.check == "link" and finding.severity == "error" for finding in found.findings)
    assert not any(finding.check == "latency" for finding in found.findings), "the link is what is missing, not a figure"


def test_whoever_chooses_coral_is_told_of_its_end() -> None:
    for board, attached in ((PI_4, USB), (profiles.board("coral-dev-board"), None)):
        (found,) = [f for f in fit.on_board(chain((64, 64), side=32), board, attached).findings if f.check == "end of life"]
        assert found.severity == "info" and "since July 2024" in found.message
    assert not [f for f in fit.on_board(chain((64, 64), side=32), PI_4).findings if f.check == "end of life"]


def test_float_does_not_fit_where_int8_does() -> None:
    floating, integer = (fit.on_board(chain(*[(2048, 2048)] * 24, dtype=dtype), ZERO) for dtype in ("float32", "int8"))
    assert floating.fits is False and integer.fits is True
    assert any(finding.check == "memory" and finding.severity == "error" for finding in floating.findings)


def test_float_that_fits_with_its_packed_weights_in_a_file_is_not_refused() -> None:
    found = fit.on_board(FLOAT, ZERO)
    assert found.room_bytes is not None and found.footprint.peak_bytes > found.room_bytes[1]
    assert found.fits is True and found.cached
    (finding,) = (finding for finding in found.findings if finding.check == "memory")
    assert finding.severity == "warning" and "192 MiB from a file as large" in finding.message


def test_what_is_private_does_not_grow_with_the_weights_where_they_lie_in_a_file() -> None:
    large, larger = (footprint.footprint(chain(*[(2048, 2048)] * count)) for count in (12, 24))
    assert large.private_bytes == larger.private_bytes < 24 * MIB
    assert larger.file_backed_bytes - large.file_backed_bytes == larger.packed_bytes - large.packed_bytes + 48 * MIB


def test_where_there_is_no_cache_all_weights_have_to_fit() -> None:
    assert ZERO.arch is not None
    old = replace(ZERO, arch=replace(ZERO.arch, value="armv7l"))
    assert fit.on_board(FLOAT, old).fits is False and not fit.on_board(FLOAT, old).cached
    assert not fit.on_board(LARGE, PI_4, USB).cached  # an Edge TPU has the weights
    assert not fit.on_board(SMALL, PI_4).cached  # too small for a file of its own


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


def test_very_large_activations_are_warned_of() -> None:
    found = fit.on_board(chain((64, 64), side=1024), PI_4, USB)
    warning = next(finding for finding in found.findings if finding.check == "activations")
    assert warning.severity == "warning" and "op 0 moves 128 MiB" in warning.message and "smaller input" in warning.message
    assert not any(finding.check == "activations" for finding in fit.on_board(chain((64, 64), side=512), PI_4, USB).findings)


def test_the_compiler_options_reach_the_prediction() -> None:
    old = fit.on_board(SMALL, PI_4, USB, options=CompilerOptions(min_runtime=11))
    assert old.tpu and old.tpu.prediction.mapped == 0
    assert set(mapping.COMPILERS) == {"16.0", "15.0", "14.1", "2.1"}
