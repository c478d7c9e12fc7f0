"""The ladder, the error of each op and the sensitivity of blocks on the small network's real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.artefact import blocks, graph
from edge.cli import main
from edge.errors import ContractError
from quantize.analyse import board_rung, explain, op_errors, sensitivity
from quantize.analyse.paired import Photos, compare
from quantize.calibrate import activations, output_error
from quantize.errors import ConversionError
from quantize.tflite.answers import Answer
from quantize.tflite.float_weights import FloatWeights
from quantize.tflite.int8_file import Int8File


@pytest.fixture(scope="module")
def explanation(small_artefacts: dict[str, Path], digits_folder: Path) -> explain.Explanation:
    return explain.explain(
        small_artefacts["int8"], reference=small_artefacts["float32"], images=digits_folder / "test", limit=80, refine=1
    )


def test_the_ladder_goes_from_float_to_the_file(explanation: explain.Explanation) -> None:
    names = [rung.name for rung in explanation.rungs]
    assert names[0] == "TFLite float32"
    assert names[1:3] == ["float16 weights", "int8 weights only"]
    assert names[-1] == "the file, optimised kernels"
    assert explanation.rungs[0].step is None
    halves, weights = explanation.rungs[1].total, explanation.rungs[2].total
    assert halves.error < weights.error < explanation.rungs[-1].total.error
    assert all(rung.step is not None and rung.step.ci95 is not None for rung in explanation.rungs[1:])


def test_every_op_with_a_result_in_both_is_listed_in_order(explanation: explain.Explanation) -> None:
    positions = [op.position for op in explanation.ops]
    assert positions == sorted(positions)
    assert {"CONV_2D", "ADD", "CONCATENATION", "SOFTMAX"} <= {op.op for op in explanation.ops}
    for op in explanation.ops:
        assert op.cosine > 0.9
        assert op.sqnr_db > 5
        assert 0.0 <= op.saturated < 0.5
        assert 0.0 < op.used <= 1.0


def test_blocks_cover_the_network_once(explanation: explain.Explanation) -> None:
    covered = [position for entry in explanation.blocks for position in entry.block.ops]
    assert covered == list(range(len(covered)))
    assert explanation.refined


def test_text_and_json_say_the_same(explanation: explain.Explanation) -> None:
    report = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert report["worst_step"] in explanation.to_text()
    assert len(report["ladder"]) == len(explanation.rungs)


def test_a_clipped_op_is_found(small_artefacts: dict[str, Path], digits_folder: Path) -> None:
    """The range of one convolution cut to a twentieth: of all ops it has the largest share of clipped values."""
    from edge.artefact import container

    source = container.read(small_artefacts["int8"])
    assert source.contract is not None
    file = Int8File(source.flatbuffer())
    tensor = file.weighted[2].outputs[0]  # the branch of the residual add: its range is its own
    name = file.graph.tensors[tensor].name
    low, high = ((end - file.zero_point(tensor)) * float(file.scale(tensor)[0]) for end in (-128, 127))
    file.set_ranges({name: (low / 20, high / 20)})
    photos = Photos.open(digits_folder / "test", source.contract, limit=20)
    reference = container.read(small_artefacts["float32"]).flatbuffer()
    found = op_errors.op_errors(reference, file.pack(), photos)
    assert max(found, key=lambda op: op.saturated).tensor == name


def test_blocks_are_cut_at_residual_sums(steps: Any) -> None:
    model = graph.read(steps.reference)
    found = blocks.blocks(model)
    assert [block.name.split(" ")[0] for block in found] == ["stem", "block", "head"]
    assert model.ops[found[1].last].name == "ADD"
    assert model.ops[found[0].last].name == "CONCATENATION"


def test_int8_weights_alone_change_little(steps: Any) -> None:
    reference = activations.run(steps.reference, steps.tensors[:8])
    same = activations.run(FloatWeights(steps.reference).as_float16(), steps.tensors[:8])
    np.testing.assert_allclose([[*row.values()][0] for row in same], [[*row.values()][0] for row in reference], atol=5e-3)


def test_pairing_counts_lost_and_won(small_artefacts: dict[str, Path]) -> None:
    from edge.artefact import container

    contract = container.read(small_artefacts["float32"]).contract
    assert contract is not None
    eye = np.eye(10, dtype=np.float32)
    name = contract.outputs[0].name
    before, after = ([Answer({name: eye[i]}) for i in chosen] for chosen in ((0, 1, 2, 3), (0, 5, 2, 4)))
    found = compare(before, after, np.array([0, 1, 7, 4], np.int32), contract)
    assert (found.lost, found.won, found.agreement, found.drop) == (1, 1, 0.5, 0.0)
    assert found.error == 0.5


def test_files_that_are_not_a_pair_are_refused(small_artefacts: dict[str, Path], digits_folder: Path) -> None:
    with pytest.raises(ContractError, match="not a float32 variant"):
        explain.explain(small_artefacts["int8"], reference=small_artefacts["int8"], images=digits_folder / "test", limit=4)


def test_the_original_network_makes_the_first_rung(
    small_network: Any, small_artefacts: dict[str, Path], few_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = tmp_path / "small.keras"
    small_network.save(original)
    report = tmp_path / "report.json"
    command = ["explain", small_artefacts["int8"], "--reference", small_artefacts["float32"], "--images", few_digits / "test"]
    assert main([*map(str, command), "--keras", str(original), "--no-ops", "--no-blocks", "--json", str(report)]) == 0
    assert "Keras float" in capsys.readouterr().out
    rungs = json.loads(report.read_text())["ladder"]
    assert [rung["name"] for rung in rungs[:2]] == ["Keras float", "TFLite float32"]
    assert rungs[1]["step"]["images"] == 80
    assert rungs[1]["step"]["error"] < 1e-5  # the same network: only the order of float sums differs
    assert rungs[0]["total"]["top1"] > 0.8


def test_processes_measure_what_this_one_does(small_artefacts: dict[str, Path], steps: Any) -> None:
    """Sensitivities made in two other processes are those made here, to the last bit, and so are the files."""
    maker = sensitivity.MixedMaker(steps.reference, steps.int8)
    tensors = steps.tensors[:6]
    photos = Photos(tensors=tensors, labels=None, ids=tuple("abcdef"), unreadable=())
    expected = activations.run(steps.reference, tensors)
    groups = blocks.blocks(maker.model)
    found = []
    for size in (1, 2):
        made: list[bytes] = []

        def keep(_: sensitivity.Sensitivity, data: bytes, into: list[bytes] = made) -> None:
            into.append(data)

        measured = sensitivity.sensitivities(
            maker, expected, photos, output_error.kinds(graph.read(steps.reference)), groups, done=keep, size=size
        )
        found.append((measured, made))
    assert found[0] == found[1]
    assert len(found[0][1]) == len(groups)


def test_a_worker_says_what_went_wrong(steps: Any) -> None:
    from quantize.analyse.mixed_workers import Work, Workers

    expected = activations.run(steps.reference, steps.tensors[:1])
    broken = Work(
        calibrated=steps.reference[:1000],
        per_channel=True,
        tensors=steps.tensors[:1],
        reference=expected,
        compared=output_error.kinds(graph.read(steps.reference)),
    )
    with Workers(broken, files=1, size=2) as workers, pytest.raises(ConversionError):
        workers.measure(())


def test_a_report_without_classes_makes_no_rung() -> None:
    with pytest.raises(ConversionError, match="leave --on out"):
        board_rung.pairing({"images": 4, "agreement": None, "probability_shift": None})
