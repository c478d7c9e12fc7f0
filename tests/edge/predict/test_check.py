"""``edgekit check`` on real artefacts: from file to verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.boards import profiles
from devices.edgetpu.ops import MAPPED
from devices.errors import UnknownProfileError
from devices.predict import resize
from edge.artefact import container
from edge.cli import main
from edge.errors import ArtefactError
from edge.predict import check as checking
from edge.predict.op_list import network_of
from tests.edge.predict.conftest import run_json


def test_the_op_list_is_the_graphs(small_artefacts: dict[str, Path]) -> None:
    source = container.read(small_artefacts["int8"])
    network = network_of(source.graph, source.path, file_bytes=source.file_bytes)
    assert [op.name for op in network.ops] == [op.name for op in source.graph.ops]
    assert network.macs > 0 and network.file_bytes == source.path.stat().st_size
    reshape = next(op for op in network.ops if op.name == "RESHAPE")
    assert reshape.constants[0].values == reshape.outputs[0].shape or -1 in (reshape.constants[0].values or ())


def test_int8_maps_to_the_edge_tpu_whole(small_artefacts: dict[str, Path]) -> None:
    report = checking.check(small_artefacts["int8"], "coral-dev-board")
    (found,) = report.boards
    assert found.tpu and report.fits is True
    assert {op.reason for op in found.tpu.prediction.per_op} == {MAPPED}
    assert found.tpu.memory.streamed_bytes == 0


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic"])
def test_float_does_not_and_says_what_to_do(small_artefacts: dict[str, Path], variant: str) -> None:
    report = checking.check(small_artefacts[variant], "pi-4b", "coral-usb")
    (found,) = report.boards
    assert found.tpu and found.tpu.prediction.mapped == 0 and report.fits is False
    assert any("int8" in line.change for line in report.advice)
    assert checking.check(small_artefacts[variant], "pi-4b").fits is True


@pytest.mark.slow
def test_the_inception_network_streams(artefacts: dict[str, Path]) -> None:
    (found,) = checking.check(artefacts["int8"], "pi-3b-plus", "coral-usb").boards
    assert found.tpu and found.tpu.prediction.mapped == len(found.tpu.prediction.per_op) > 300
    assert 40 << 20 < found.tpu.memory.streamed_bytes < found.tpu.memory.weight_bytes
    (whole,) = checking.check(artefacts["float32"], "pi-zero-2w").boards
    (whole,) = checking.check(artefacts["float32"], "pi-zero-2w").boards
    assert whole.fits and whole.cached, "217 MB of weights, packed in a file"
    source = container.read(artefacts["int8"])
    original = resize.resized(network_of(source.graph, source.path), 299)
    assert original is not None and original.macs == pytest.approx(13.154e9, rel=1e-3)
    assert checking.check(artefacts["int8"], "pi-zero-2w").fits is True


def test_one_table_over_all_boards(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(small_artefacts["int8"])]) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert all(board.name in first_words for board in profiles.BOARDS)


def test_a_table_over_those_that_are_named(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(small_artefacts["int8"])
    code, report = run_json(capsys, path, "--board", "pi-5", "--board", "pi-4b", "--board", "pi-5")
    assert code == 0 and [board["board"] for board in report["boards"]] == ["pi-5", "pi-4b"]  # type: ignore[attr-defined]
    # Of those that are named each has to fit: the micro board runs no Linux.
    assert main(["check", path, "--board", "pi-5", "--board", "coral-dev-board-micro"]) == 1
    assert main(["check", path, "--board", "pi-5", "--board", "pi-4b", "--memory", "4GiB"]) == 2
    assert "needs the one --board" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--board", "coral-usb"], "say it with --accelerator coral-usb"),
        (["--board", "pi-5", "--accelerator", "pi-4b"], "say it with --board pi-4b"),
    ],
)
def test_a_name_under_the_wrong_flag_gets_the_right_one(
    flags: list[str], hint: str, small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(small_artefacts["int8"]), *flags]) == 2
    assert hint in capsys.readouterr().err


def test_json_has_what_programs_need(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, data = run_json(capsys, str(small_artefacts["int8"]), "--board", "coral-dev-board")
    edgetpu, latency = data["edgetpu"], data["latency_ms"]
    assert code == 0 and data["fits"] is True and isinstance(data["findings"], list)
    assert isinstance(edgetpu, dict) and isinstance(latency, dict)
    assert edgetpu["mapped"] == len(edgetpu["per_op"]) and edgetpu["cpu"] == 0 and edgetpu["subgraphs"] == 1
    assert {"op", "index", "mapped", "reason"} <= edgetpu["per_op"][0].keys()
    assert latency["low"] < latency["expected"] < latency["high"] and latency["basis"]
    code, data = run_json(capsys, str(small_artefacts["float32"]), "--board", "pi-4b", "--accelerator", "coral-usb")
    assert code == 1 and data["fits"] is False


def test_every_op_can_be_listed(small_artefacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(small_artefacts["uint8"]), "--board", "coral-dev-board", "--ops"])
    lines = capsys.readouterr().out.splitlines()
    ops = container.read(small_artefacts["uint8"]).graph.ops
    for op in ops:
        assert any(f"{op.index} {op.name} v{op.version}: " in line for line in lines)


@pytest.mark.slow
def test_models_before_take_the_cache(artefacts: dict[str, Path]) -> None:
    report = checking.check(artefacts["int8"], "coral-dev-board", before=[artefacts["int8"]])
    tpu = report.boards[0].tpu
    assert tpu and tpu.memory.streamed_bytes > 0.99 * tpu.memory.weight_bytes


def test_wrong_usage_is_one_sentence(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    file = small_artefacts["int8"]
    with pytest.raises(UnknownProfileError, match="did you mean 'pi-4b'"):
        checking.check(file, "pi-4")
    with pytest.raises(ArtefactError):
        checking.check(tmp_path / "missing.tflite", "pi-4b")
    assert main(["check", str(file), "--compiler-version", "17"]) == 2
    assert main(["check", str(file), "-n", "0", "--board", "coral-dev-board"]) == 2
    assert main(["check", str(file), "--board", "pi-4b", "--learn", str(tmp_path / "none.json")]) == 2
    assert main(["check", str(file), "--board", "pi-4b", "--compile", str(tmp_path)]) == 2
