"""What is made of TF-slim's network: files in every form of input, by the functions and by the command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import edge
import quantize
from edge.artefact import container
from edge.cli import build_parser, main
from edge.history.store import RunStore
from edge.runtime.preprocess import load_pixels
from quantize.errors import LoadError
from quantize.loading.slim import source as slim_source
from quantize.loading.slim.source import SlimOptions
from tests.quantize.loading.conftest import predictions

pytestmark = pytest.mark.converts


def test_quantize_load_takes_the_file_itself(frozen: Path) -> None:
    labels = [f"class {i}" for i in range(1000)]
    source = quantize.load(frozen, labels=labels, name="mine")
    assert source.name == "mine"
    assert source.contract.outputs[0].labels == ("background", *labels)
    assert source.contract.outputs[0].background_index == 0
    with pytest.raises(LoadError, match="logits"):
        quantize.load(frozen, outputs="regression")


# The same network in four forms of input, as files.
FORMS = (("rgb", False), ("bgr", False), ("rgb", True), ("bgr", True))


@pytest.fixture(scope="module")
def files(frozen: Path, slim_folder: Path, digits_folder: Path) -> dict[tuple[str, bool, str], Path]:
    """Float32 and full-integer files with uint8 input, calibrated on the same pictures."""
    from quantize.ptq import PtqConfig

    made = {}
    for order, fold in FORMS:
        source = slim_source.load(frozen, SlimOptions(input_order=order, fold_preprocessing=fold)).source
        pictures = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=10, contract=source.contract)
        config = PtqConfig(io="uint8", ranges="minmax", golden_samples=1)
        for artefact in quantize.post_training_variants(source, pictures, ("float32", "int8"), config=config):
            made[order, fold, artefact.variant] = artefact.save(slim_folder / f"{order}-{fold}.{artefact.variant}.tflite")
    return made


def test_float_files_answer_alike(
    files: dict[tuple[str, bool, str], Path], imported: slim_source.Imported, photographs: list[np.ndarray]
) -> None:
    expected = predictions(imported.source.model, imported.source.contract.input, photographs[0])
    best = 1 + int(np.argmax(expected[1:]))  # the background is never an answer
    for order, fold in FORMS:
        model = edge.load(files[order, fold, "float32"])
        assert model.contract.input.color == order
        found = model.predict(photographs[0])["AuxLogits_Logits"]
        assert np.max(np.abs(found - expected)) < 1e-4 * np.max(np.abs(expected))
        classes = model.classify(photographs[0])
        assert len(classes) == 1000
        assert classes.best.class_id == best


def test_the_order_of_colours_changes_an_integer_file_by_a_step_at_most(
    files: dict[tuple[str, bool, str], Path], photographs: list[np.ndarray]
) -> None:
    for fold in (False, True):
        one, other = (edge.load(files[order, fold, "int8"]) for order in ("rgb", "bgr"))
        for photo in photographs:
            found, same = (model.invoke(model.preprocess(photo))["AuxLogits_Logits"] for model in (one, other))
            assert found.dtype == np.uint8
            # The weights are the same numbers; the ranges differ in their last bits, as float sums are made in another order.
            assert np.max(np.abs(found.astype(int) - same)) <= 1


def test_a_byte_of_the_folded_file_is_the_pixel(files: dict[tuple[str, bool, str], Path], photographs: list[np.ndarray]) -> None:
    model, plain = (edge.load(files["rgb", fold, "int8"]) for fold in (True, False))
    assert model.input.quant is not None
    assert (float(model.input.quant.scale[0]), int(model.input.quant.zero_point[0])) == (1.0, 0)
    pixels = load_pixels(photographs[0], model.contract.input)
    np.testing.assert_array_equal(model.preprocess(photographs[0])[0], pixels)
    # Scale and zero point do the normalisation: the answers stay within the noise of quantization.
    found, expected = (each.predict(photographs[0])["AuxLogits_Logits"] for each in (model, plain))
    assert np.corrcoef(found, expected)[0, 1] > 0.98
    assert plain.input.quant is not None
    assert float(plain.input.quant.scale[0]) == pytest.approx(2 / 255, rel=0.02)


def test_the_command_writes_what_was_compared(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], photographs: list[np.ndarray]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {i}" for i in range(1000)) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    words = ["import", str(frozen), "--as", "slim", "--labels", str(labels), "--crop-fraction", "1", "--out", str(out)]
    store = RunStore(tmp_path / "runs.sqlite")
    assert main([*words, "--json", str(tmp_path / "report.json"), "--store", str(store.path)]) == 0
    text = capsys.readouterr().out
    assert "same first answer on 100% of 2 pictures (two photos that come with scikit-learn)" in text
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["agreement"]["relative"] < 1e-5
    assert sorted(path.name for path in out.iterdir()) == ["small.float32.tflite", "small.keras"]
    model = edge.load(out / "small.float32.tflite")
    assert model.contract.input.crop_fraction == 1.0
    assert model.classify(photographs[0]).best.label.startswith("class ")
    run = store.get(1)
    assert (run.command, run.report) == ("import", report)
    assert run.summary.startswith(f"{report['source']['parameters']:,} parameters, as the graph within ")
    assert [(made.role, Path(made.file).name) for made in run.artefacts] == [
        ("made", "small.keras"),
        ("made", "small.float32.tflite"),
    ]
    assert run.artefacts[1].sha256 == container.read(out / "small.float32.tflite").model_sha256
    assert "tensorflow" in run.versions
    # The line that it ends in takes the Keras file as it must be fed and read.
    line = shlex.split(text.splitlines()[-1].partition(": ")[2].replace("LABELS", str(labels)))
    args = build_parser("qat").parse_args(line[1:])
    from quantize.commands.source_flags import load_source

    source = load_source(args)
    assert source.contract.input == model.contract.input
    assert source.contract.outputs == model.contract.outputs


def test_folders_of_photos_name_all_classes_but_the_background(frozen: Path, tmp_path: Path) -> None:
    from quantize.commands.source_flags import load_source

    for i in range(1000):
        (tmp_path / f"n{i:04d}").mkdir()
        (tmp_path / f"n{i:04d}" / "photo.jpg").touch()  # folders without any photo are no classes
    args = build_parser("quantize").parse_args(["quantize", str(frozen), "--images", str(tmp_path)])
    (output,) = load_source(args, images=str(tmp_path)).contract.outputs
    assert (output.labels[0], output.labels[1], output.labels[1000]) == ("background", "n0000", "n0999")
