"""The search for mixed precision: the gate decides by the bound, islands are refused for an Edge TPU, a search goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from edge.artefact import container, graph, graph_facts
from edge.cli import main
from edge.errors import UsageError
from quantize.analyse import tune
from quantize.analyse.paired import Pairing, Photos
from quantize.analyse.sensitivity import MixedMaker
from quantize.analyse.tune_files import int8_and_float
from quantize.tflite import conversion
from quantize.tflite.calibrated import read_ranges
from quantize.tflite.int8_file import Int8File
from tests.quantize import open_network


@pytest.fixture(scope="module")
def files(small_artefacts: dict[str, Path], digits_folder: Path) -> dict[str, Any]:
    float32, int8 = (container.read(small_artefacts[name]) for name in ("float32", "int8"))
    assert float32.contract is not None
    photos = Photos.open(digits_folder / "test", float32.contract, limit=250)
    return {"reference": float32.flatbuffer(), "int8": int8.flatbuffer(), "photos": photos, "contract": float32.contract}


@pytest.fixture(scope="module")
def ruined(files: dict[str, Any]) -> bytes:
    """The int8 file with the ranges of the first block far too narrow: only that block in float brings the answers back."""
    file = Int8File(files["int8"])
    op = file.weighted[1]
    name = file.graph.tensors[op.outputs[0]].name
    tied = [n for n, i in file.by_name.items() if float(file.scale(i)[0]) == float(file.scale(file.by_name[name])[0])]
    file.set_ranges(dict.fromkeys(tied, (0.0, 0.02)))
    return file.pack()


def _tune(files: dict[str, Any], folder: Path, **options: Any) -> tune.Tuned:
    given = {**files, "max_drop": 0.2, "state": folder, "predict_ms": len, **options}
    return tune.tune(given.pop("reference"), given.pop("int8"), given.pop("photos"), given.pop("contract"), **given)


def test_int8_is_taken_where_it_passes(files: dict[str, Any], tmp_path: Path) -> None:
    found = _tune(files, tmp_path)
    assert [candidate.name for candidate in found.candidates] == ["int8"]
    assert found.flatbuffer == files["int8"]
    assert found.candidates[0].gate is not None
    assert found.candidates[0].gate.images == 150
    json.dumps(found.to_dict(), allow_nan=False)


def test_blocks_in_float_bring_a_ruined_file_back(files: dict[str, Any], ruined: bytes, tmp_path: Path) -> None:
    found = _tune(files, tmp_path, int8=ruined)
    assert found.candidates[0].verdict != "pass"
    assert found.chosen is not None
    assert found.chosen.in_float
    assert found.flatbuffer is not None
    assert graph_facts.float_ops(graph.read(found.flatbuffer))
    assert found.chosen.search.error < found.candidates[0].search.error
    assert "chosen: " + found.chosen.name in found.to_text()
    again = _tune(files, tmp_path, int8=ruined)  # everything is known by now, and the answer the same
    assert again.to_dict() == found.to_dict()
    assert again.flatbuffer == found.flatbuffer


@pytest.mark.parametrize("calls", [2, 4])
def test_an_interrupted_search_goes_on(files: dict[str, Any], ruined: bytes, tmp_path: Path, calls: int) -> None:
    """Stopped while blocks are ranked, and again after: what was measured before is not measured anew, the result is the same."""
    done: list[bytes] = []

    def interrupted(data: bytes) -> float:
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(data)
        return float(len(data))

    def counting(into: list[bytes]) -> tune.PredictMs:
        return lambda data: into.append(data) or float(len(data))  # type: ignore[func-returns-value]

    with pytest.raises(KeyboardInterrupt):
        _tune(files, tmp_path / "a", int8=ruined, predict_ms=interrupted)
    rest: list[bytes] = []
    whole: list[bytes] = []
    resumed = _tune(files, tmp_path / "a", int8=ruined, predict_ms=counting(rest))
    at_once = _tune(files, tmp_path / "b", int8=ruined, predict_ms=counting(whole))
    assert [data for data in rest if data != ruined] == [data for data in whole[calls:] if data != ruined]
    assert resumed.to_dict() == at_once.to_dict()
    assert resumed.flatbuffer == at_once.flatbuffer


def test_blocks_are_ranked_by_the_boards_milliseconds(files: dict[str, Any], ruined: bytes, tmp_path: Path) -> None:
    """Where float costs nothing, by gain alone; on a board where the best block alone is dear, the others come before it."""
    free = _tune(files, tmp_path, int8=ruined, predict_ms=lambda _: 1.0, board="free").ranking
    gains = [entry.gain for entry in free]
    assert gains == sorted(gains, reverse=True)
    with_best_in_float = MixedMaker(files["reference"], ruined).make((free[0].block,))
    dear = _tune(files, tmp_path, int8=ruined, predict_ms=lambda data: 1e6 if data == with_best_in_float else 1.0, board="dear")
    ranking = dear.ranking
    # What makes the answers worse in float comes behind what is dear, too; which blocks do, another machine's network decides.
    assert ranking[0].block == free[1 if gains[1] > 0 else 0].block
    assert {entry.block for entry in ranking} == {entry.block for entry in free}


def test_float_is_predicted_to_be_slower_on_a_board(files: dict[str, Any]) -> None:
    from devices.boards import profiles

    predict = tune.predictor(profiles.board("pi-4b"))
    assert 0 < predict(files["int8"]) < predict(files["reference"])


def test_an_edge_tpu_gets_no_islands(files: dict[str, Any], ruined: bytes, tmp_path: Path) -> None:
    found = _tune(files, tmp_path, int8=ruined, integer_only=True)
    assert found.chosen is None
    assert [candidate.name for candidate in found.candidates] == ["int8"]
    assert "full-integer files only" in str(tune.refuse_islands("coral-dev-board"))


def test_a_budget_needs_labels(files: dict[str, Any], tmp_path: Path) -> None:
    photos = files["photos"]
    bare = Photos(tensors=photos.tensors, labels=None, ids=photos.ids, unreadable=())
    with pytest.raises(UsageError, match="labelled"):
        _tune(files, tmp_path, photos=bare)
    with pytest.raises(UsageError, match="max_drop is 2"):
        _tune(files, tmp_path, max_drop=2.0)


def test_gate_and_search_share_no_image(files: dict[str, Any]) -> None:
    gate, search = files["photos"].split(0.6)
    assert not set(gate.ids) & set(search.ids)
    assert len(gate) + len(search) == 250
    assert set(np.unique(gate.labels)) == set(range(10))


def test_the_front_holds_what_nothing_beats() -> None:
    def candidate(name: str, ms: float, error: float) -> tune.Candidate:
        return tune.Candidate(name=name, in_float=(), bytes=1, ms=ms, search=Pairing(images=1, agreement=None, error=error))

    found = tune.pareto(
        [candidate("a", 1, 3), candidate("b", 2, 3), candidate("c", 3, 1), candidate("d", 4, 2), candidate("e", 5, 0)]
    )
    assert [entry.name for entry in found] == ["a", "c", "e"]


@pytest.mark.parametrize("io", ["float32", "uint8"])
def test_ranges_are_read_from_a_file_with_other_ends(steps: Any, io: str) -> None:
    """The range of the input and of the output lies behind a conversion there; without it their ops would compute in float."""
    plain = MixedMaker(steps.reference, steps.int8)
    maker = MixedMaker(steps.reference, conversion.quantize_int8(steps.calibrated, io=io))
    assert read_ranges(maker.calibrated) == read_ranges(plain.calibrated)
    assert graph_facts.op_counts(graph.read(maker.make(()))) == graph_facts.op_counts(graph.read(plain.make(())))
    assert graph.read(conversion.quantize_int16x8(maker.calibrated)).ops


def test_too_few_images_to_prove_anything_are_said_to_be(files: dict[str, Any], tmp_path: Path) -> None:
    assert tune.too_few(380, 0.0101) == ""
    assert "give about 3," in tune.too_few(360, 0.002)
    found = _tune(files, tmp_path, max_drop=0.002, integer_only=True)
    assert found.chosen is None
    assert "150 images decide, too few to prove a drop of at most 0.2 points for a file" in found.to_text()


def test_the_flatbuffers_are_made_once(small_network: Any, digits_folder: Path, tmp_path: Path) -> None:
    network, folder = tmp_path / "small.keras", tmp_path / "kept"
    small_network.save(network)
    folder.mkdir()

    def prepared() -> tuple[bytes, bytes]:
        source = quantize.load(network, preprocess="inception", labels=[str(digit) for digit in range(10)])
        photos = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=12, contract=source.contract)
        return int8_and_float(source, photos, folder=folder)

    first = prepared()
    kept = sorted(folder.iterdir())
    assert {path.read_bytes() for path in kept} == set(first)
    kept[0].write_bytes(b"taken from here")
    assert b"taken from here" in prepared()
    (folder / "another.int8.prepared.tflite").write_bytes(b"")
    kept[0].unlink()
    assert prepared() == first
    assert sorted(folder.iterdir()) == kept


@pytest.mark.converts
def test_a_recurrent_network_gets_the_converters_ranges(few_digits: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    steps = keras.layers.Reshape((16, 12))(keras.layers.Conv2D(12, 8, strides=8, activation="relu")(image))
    found = keras.layers.Dense(10, activation="softmax", name="digit")(keras.layers.LSTM(4)(steps))
    source = quantize.load(
        keras.Model(image, found), name="recurrent", preprocess="inception", labels=[str(digit) for digit in range(10)]
    )
    photos = quantize.RepresentativeDataset.from_folder(few_digits / "train", count=12, contract=source.contract)
    reference, int8 = int8_and_float(source, photos, folder=tmp_path)
    plain = conversion.quantize_int8(conversion.calibrate(reference, photos.tensors()), io="float32")
    found_ranges, plain_ranges = (
        {
            name: file.limits(i)
            for name, i in file.by_name.items()
            if not file.graph.tensors[i].is_constant and file.graph.tensors[i].quant
        }
        for file in (Int8File(int8), Int8File(plain))
    )
    assert len(found_ranges) > 3 and found_ranges == plain_ranges


def test_photos_of_another_pixel_range_are_refused_before_anything_is_made(
    small_network: Any, digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_network.save(tmp_path / "small.keras")
    photos = ["--images", str(digits_folder / "train"), "--validation", str(digits_folder / "test")]
    command = ["tune", str(tmp_path / "small.keras"), *photos, "--max-drop", "0.01", "--out", str(tmp_path / "out")]
    assert main([*command, "--preprocess", "raw"]) == 2
    said = capsys.readouterr().err
    assert "range of 'inception' fits it far better" in said and not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("target", [["--board", "coral-dev-board"], ["--board", "pi-4b", "--accelerator", "coral-usb"]])
def test_whoever_tunes_for_coral_is_told_of_its_end(
    target: list[str], few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_network.write(tmp_path / "net.keras")
    flags = ["--images", str(few_digits / "train"), "--validation", str(few_digits / "test"), "--max-drop", "0.01"]
    assert main(["tune", str(tmp_path / "net.keras"), *flags, *target]) == 2
    assert "end of life since July 2024" in capsys.readouterr().err
