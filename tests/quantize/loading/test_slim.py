"""TF-slim's network from its files: the same answers as the graph, in every form of file and of input."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge
import quantize
from benchmarks import slim_graph
from benchmarks.slim_graph import Recipe
from edge.artefact import container, graph, graph_facts
from edge.artefact.contract import InputSpec
from edge.cli import build_parser, main
from edge.errors import ContractError
from edge.history.store import RunStore
from edge.runtime.preprocess import load_pixels, preprocess
from quantize.errors import LoadError, UnsafeModelError
from quantize.loading.slim import network as slim_network
from quantize.loading.slim import source as slim_source
from quantize.loading.slim.source import SlimOptions
from quantize.tflite import conversion

# Not square, so that no two axes can be mixed up; the map before the auxiliary head is 8 x 7, its last convolution 2 x 1.
RELU = 1  # ActivationFunctionType in TFLite's schema
SMALL = Recipe(height=155, width=139, thinner=8, blocks=(2, 2, 1), classes=1001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slim")


@pytest.fixture(scope="module")
def frozen(folder: Path) -> Path:
    path = folder / "small.pb"
    slim_graph.write_frozen(SMALL, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    prefix = folder / "both.ckpt"
    slim_graph.write_checkpoint(dataclasses.replace(SMALL, full=True), prefix)
    return prefix


@pytest.fixture(scope="module")
def imported(frozen: Path) -> slim_source.Imported:
    return slim_source.load(frozen)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """The two photographs that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def altered(frozen: Path, change: Any) -> bytes:
    """Return the graph after ``change(node, graph)`` for each node."""
    from quantize.quiet import import_tensorflow

    graph = import_tensorflow().compat.v1.GraphDef.FromString(frozen.read_bytes())
    for node in list(graph.node):
        change(node, graph)
    return bytes(graph.SerializeToString())


def predictions(model: Any, spec: InputSpec, picture: np.ndarray) -> np.ndarray:
    answers: np.ndarray = np.asarray(model(preprocess(picture, spec), training=False))
    return answers.reshape(-1)


def test_a_frozen_graph_answers_as_before_on_photos(imported: slim_source.Imported, photos: list[np.ndarray]) -> None:
    agreement = imported.compare(photos)
    assert agreement.pictures == 2
    assert agreement.relative < 1e-5
    assert agreement.same_first == 1.0
    contract = imported.source.contract
    assert (contract.input.height, contract.input.width) == (155, 139)
    assert contract.input.crop_fraction == 0.875
    assert contract.input.mean == contract.input.scale == (127.5,) * 3
    assert contract.outputs[0].kind == "logits"
    assert contract.outputs[0].background_index == 0
    assert contract.source.format == "frozen_graph"


@pytest.mark.parametrize("batch_norm", [slim_graph.PLAIN, slim_graph.FOLDED])
def test_batch_normalisation_in_other_forms(
    batch_norm: str, folder: Path, imported: slim_source.Imported, photos: list[np.ndarray]
) -> None:
    path = folder / f"{batch_norm}.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, batch_norm=batch_norm), path)
    other = slim_source.load(path)
    spec = imported.source.contract.input
    expected = predictions(imported.source.model, spec, photos[0])
    found = predictions(other.source.model, spec, photos[0])
    assert np.max(np.abs(found - expected)) < 1e-4 * np.max(np.abs(expected))
    if batch_norm == slim_graph.PLAIN:  # the statistics are still known, and kept
        for ours, theirs in zip(imported.source.model.get_weights(), other.source.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_epsilon_and_a_gamma_of_its_own(folder: Path, frozen: Path, photos: list[np.ndarray]) -> None:
    def change(node: Any, graph: Any) -> None:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["epsilon"].f = 0.01
        if node.name.endswith("BatchNorm/Const"):
            filters = node.attr["value"].tensor.tensor_shape.dim[0].size
            node.attr["value"].tensor.ClearField("float_val")
            node.attr["value"].tensor.tensor_content = np.linspace(0.8, 1.2, filters).astype(np.float32).tobytes()

    path = folder / "gamma.pb"
    path.write_bytes(altered(frozen, change))
    assert slim_source.load(path).compare(photos).relative < 1e-5


def test_checkpoint_and_meta_graph_hold_the_same_weights(
    checkpoint: Path, imported: slim_source.Imported, photos: list[np.ndarray]
) -> None:
    weights = imported.source.model.get_weights()
    for path in (checkpoint, checkpoint.with_name("both.ckpt.index"), checkpoint.with_name("both.ckpt.meta")):
        other = slim_source.load(path)
        assert other.compare(photos[:1]).relative < 1e-5
        for ours, theirs in zip(weights, other.source.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_of_the_first_version_alone(folder: Path, imported: slim_source.Imported) -> None:
    """As in the published archive: one file, and no graph."""
    prefix = folder / "version1.ckpt"
    slim_graph.write_checkpoint(SMALL, prefix, version=1)
    prefix.with_name("version1.ckpt.meta").unlink()
    assert prefix.is_file()
    other = slim_source.load(prefix, input_shape=(155, 139, 3))
    assert other.agreement is None
    assert "nothing to compare" in other.source.notes[0]
    for ours, theirs in zip(imported.source.model.get_weights(), other.source.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(LoadError, match="nothing to compare"):
        other.compare([])
    with pytest.raises(LoadError, match=r"is 2 x 1, the map there is 5 x 5; give the input size"):
        slim_source.load(prefix)


def test_a_training_graph_is_not_compared_with(folder: Path, checkpoint: Path, imported: slim_source.Imported) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    for path in checkpoint.parent.glob("both.ckpt.*"):
        (folder / path.name.replace("both", "training")).write_bytes(path.read_bytes())
    meta = folder / "training.ckpt.meta"
    graph = meta_graph_pb2.MetaGraphDef.FromString(meta.read_bytes())
    for node in graph.graph_def.node:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["is_training"].b = True
    meta.write_bytes(graph.SerializeToString())
    with pytest.raises(LoadError, match="a training graph.* give the checkpoint instead"):
        slim_source.load(meta)
    found = slim_source.load(folder / "training.ckpt", input_shape=(155, 139, 3))
    assert found.agreement is None
    assert "is a training graph" in found.source.notes[0]
    for ours, theirs in zip(imported.source.model.get_weights(), found.source.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("output", "kind"), [(slim_network.PREDICTIONS, "probabilities"), (slim_network.LOGITS, "logits")])
def test_the_whole_network(output: str, kind: str, checkpoint: Path, photos: list[np.ndarray]) -> None:
    whole = slim_source.load(checkpoint, SlimOptions(output=output))
    assert whole.compare(photos).relative < 1e-5
    assert whole.source.contract.outputs[0].kind == kind
    assert whole.source.model.count_params() > slim_source.load(checkpoint).source.model.count_params()


@pytest.mark.parametrize(("order", "fold"), [("bgr", False), ("rgb", True), ("bgr", True)])
def test_another_input_and_the_same_answers(
    order: str, fold: bool, frozen: Path, imported: slim_source.Imported, photos: list[np.ndarray]
) -> None:
    other = slim_source.load(
        frozen,
        SlimOptions(input_order=order, fold_preprocessing=fold),
        preprocess={"mean": (120.0, 125.5, 130.0), "scale": (127.5, 64.0, 100.0)},
    )
    spec = other.source.contract.input
    assert spec.color == order
    if fold:
        assert (spec.mean, spec.scale) == ((0.0,) * 3, (1.0,) * 3)
    elif order == "bgr":
        assert (spec.mean, spec.scale) == ((130.0, 125.5, 120.0), (100.0, 64.0, 127.5))
    assert other.compare(photos).relative < 1e-5
    # The colours matter: fed the other way round, the network says something else.
    wrong = dataclasses.replace(spec, color={"rgb": "bgr", "bgr": "rgb"}[order])
    right = predictions(other.source.model, spec, photos[0])
    assert np.max(np.abs(predictions(other.source.model, wrong, photos[0]) - right)) > 1e-2 * np.max(np.abs(right))


def test_other_scales_or_padding_stop_the_import(folder: Path) -> None:
    path = folder / "scales.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, scales=(0.17, 0.11, 0.2)), path)
    with pytest.raises(LoadError, match=r"differ from the graph's by .* nothing was written"):
        slim_source.load(path)


def test_quantize_load_takes_the_file_itself(frozen: Path) -> None:
    labels = [f"class {i}" for i in range(1000)]
    source = quantize.load(frozen, labels=labels, name="mine")
    assert source.name == "mine"
    assert source.contract.outputs[0].labels == ("background", *labels)
    assert source.contract.outputs[0].background_index == 0
    with pytest.raises(LoadError, match="logits"):
        quantize.load(frozen, outputs="regression")


@pytest.mark.parametrize("count", [999, 1002])
def test_labels_that_do_not_fit(count: int, frozen: Path) -> None:
    with pytest.raises(ContractError, match=f"{count} labels for 1001 classes; expected 1001, or 1000 without the background"):
        quantize.load(frozen, labels=[f"class {i}" for i in range(count)])


def test_labels_one_line_off(frozen: Path) -> None:
    with pytest.raises(ContractError, match="line 1 of the labels is 'tench': the names are shifted"):
        quantize.load(frozen, labels=["tench", *(f"class {i}" for i in range(1000))])


@pytest.mark.parametrize(
    ("op", "error", "message"),
    [
        ("PyFunc", UnsafeModelError, "runs Python code"),
        ("ReadFile", UnsafeModelError, "can touch files"),
        ("WriteFile", UnsafeModelError, "can touch files"),
        ("NoSuchOp", LoadError, "custom op"),
    ],
)
def test_ops_that_could_do_harm(op: str, error: type[Exception], message: str, folder: Path, frozen: Path) -> None:
    def change(node: Any, graph: Any) -> None:
        if node.name == "input":
            extra = graph.node.add()
            extra.name, extra.op = "extra", op

    path = folder / f"{op}.pb"
    path.write_bytes(altered(frozen, change))
    with pytest.raises(error, match=message):
        slim_source.load(path)


def test_python_code_in_a_meta_graph_is_refused_wherever_it_is(folder: Path, checkpoint: Path) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    meta = meta_graph_pb2.MetaGraphDef.FromString(checkpoint.with_name("both.ckpt.meta").read_bytes())
    extra = meta.graph_def.node.add()
    extra.name, extra.op = "extra", "EagerPyFunc"
    path = folder / "code.ckpt.meta"
    path.write_bytes(meta.SerializeToString())
    with pytest.raises(UnsafeModelError, match="runs Python code"):
        slim_source.load(path, SlimOptions(checkpoint=checkpoint))


def test_files_that_are_damaged_or_something_else(folder: Path, frozen: Path, checkpoint: Path) -> None:
    cut = folder / "cut.pb"
    cut.write_bytes(frozen.read_bytes()[: frozen.stat().st_size // 2])
    with pytest.raises(LoadError, match="cut off"):
        slim_source.load(cut)
    with pytest.raises(LoadError, match="has no node 'InceptionResnetV2/Logits/Predictions'; it has InceptionResnetV2/AuxLogits"):
        slim_source.load(frozen, SlimOptions(output=slim_network.PREDICTIONS))
    with pytest.raises(LoadError, match="does not depend on a node 'pixels'; it begins with input; name it with --input"):
        slim_source.load(frozen, SlimOptions(input_node="pixels"))
    with pytest.raises(LoadError, match="is not there; name it with --checkpoint"):
        lonely = folder / "lonely.ckpt.meta"
        lonely.write_bytes(checkpoint.with_name("both.ckpt.meta").read_bytes())
        slim_source.load(lonely)
    with pytest.raises(LoadError, match="cannot be read"):
        damaged = folder / "damaged.ckpt.index"
        damaged.write_bytes(checkpoint.with_name("both.ckpt.index").read_bytes()[:100])
        slim_source.load(damaged)
    with pytest.raises(LoadError, match="trained on RGB; to feed it bgr say --input-order bgr"):
        slim_source.load(frozen, preprocess=InputSpec(width=139, height=155, color="bgr"))
    with pytest.raises(LoadError, match="its input is 155x139x3, 299x299x3 was asked for"):
        slim_source.load(frozen, input_shape=(299, 299, 3))


def test_a_keras_network_that_keeps_its_answers(imported: slim_source.Imported, tmp_path: Path, photos: list[np.ndarray]) -> None:
    """Saved and loaded as any other, and taken by the bridge for quantization-aware training."""
    from quantize.qat import bridge

    path = tmp_path / "slim.keras"
    imported.source.model.save(path)
    spec = imported.source.contract.input
    fed = {"mean": spec.mean, "scale": spec.scale, "crop_fraction": spec.crop_fraction}
    again = quantize.load(path, preprocess=fed, outputs="logits", background=0)
    assert again.contract.outputs[0].background_index == 0
    tensor = preprocess(photos[0], spec)
    np.testing.assert_array_equal(again.predict(tensor)["AuxLogits_Logits"], imported.source.predict(tensor)["AuxLogits_Logits"])
    bridged = bridge.bridge(again.model)
    assert len(bridged.folded) == sum(SMALL.blocks[:2])
    assert bridge.check(bridged, tensor) < 1e-5


# The same network in four forms of input, as files.
FORMS = (("rgb", False), ("bgr", False), ("rgb", True), ("bgr", True))


@pytest.fixture(scope="module")
def files(frozen: Path, folder: Path, digits_folder: Path) -> dict[tuple[str, bool, str], Path]:
    """Float32 and full-integer files with uint8 input, calibrated on the same pictures."""
    from quantize.ptq import PtqConfig

    made = {}
    for order, fold in FORMS:
        source = slim_source.load(frozen, SlimOptions(input_order=order, fold_preprocessing=fold)).source
        pictures = quantize.RepresentativeDataset.from_folder(digits_folder / "train", count=10, contract=source.contract)
        config = PtqConfig(io="uint8", ranges="minmax", golden_samples=1)
        for artefact in quantize.post_training_variants(source, pictures, ("float32", "int8"), config=config):
            made[order, fold, artefact.variant] = artefact.save(folder / f"{order}-{fold}.{artefact.variant}.tflite")
    return made


def test_float_files_answer_alike(
    files: dict[tuple[str, bool, str], Path], imported: slim_source.Imported, photos: list[np.ndarray]
) -> None:
    expected = predictions(imported.source.model, imported.source.contract.input, photos[0])
    best = 1 + int(np.argmax(expected[1:]))  # the background is never an answer
    for order, fold in FORMS:
        model = edge.load(files[order, fold, "float32"])
        assert model.contract.input.color == order
        found = model.predict(photos[0])["AuxLogits_Logits"]
        assert np.max(np.abs(found - expected)) < 1e-4 * np.max(np.abs(expected))
        classes = model.classify(photos[0])
        assert len(classes) == 1000
        assert classes.best.class_id == best


def test_the_order_of_colours_changes_an_integer_file_by_a_step_at_most(
    files: dict[tuple[str, bool, str], Path], photos: list[np.ndarray]
) -> None:
    for fold in (False, True):
        one, other = (edge.load(files[order, fold, "int8"]) for order in ("rgb", "bgr"))
        for photo in photos:
            found, same = (model.invoke(model.preprocess(photo))["AuxLogits_Logits"] for model in (one, other))
            assert found.dtype == np.uint8
            # The weights are the same numbers; the ranges differ in their last bits, as float sums are made in another order.
            assert np.max(np.abs(found.astype(int) - same)) <= 1


def test_a_byte_of_the_folded_file_is_the_pixel(files: dict[tuple[str, bool, str], Path], photos: list[np.ndarray]) -> None:
    model, plain = (edge.load(files["rgb", fold, "int8"]) for fold in (True, False))
    assert model.input.quant is not None
    assert (float(model.input.quant.scale[0]), int(model.input.quant.zero_point[0])) == (1.0, 0)
    pixels = load_pixels(photos[0], model.contract.input)
    np.testing.assert_array_equal(model.preprocess(photos[0])[0], pixels)
    # Scale and zero point do the normalisation: the answers stay within the noise of quantization.
    found, expected = (each.predict(photos[0])["AuxLogits_Logits"] for each in (model, plain))
    assert np.corrcoef(found, expected)[0, 1] > 0.98
    assert plain.input.quant is not None
    assert float(plain.input.quant.scale[0]) == pytest.approx(2 / 255, rel=0.02)


def test_the_command_writes_what_was_compared(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], photos: list[np.ndarray]
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
    assert model.classify(photos[0]).best.label.startswith("class ")
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


def test_the_command_writes_nothing_where_the_answers_differ(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scales.pb"
    slim_graph.write_frozen(dataclasses.replace(SMALL, scales=(0.16, 0.1, 0.2)), path)
    assert main(["import", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_published_size(tmp_path: Path, photos: list[np.ndarray]) -> None:
    """Open Model Zoo's table: 30.223 million parameters, 22.227 GFLOPs, input 1 x 299 x 299 x 3, output 1 x 1001."""
    path = tmp_path / "inception_resnet_v2.pb"
    slim_graph.write_frozen(Recipe(), path)
    whole = slim_source.load(path)
    assert whole.compare(photos).relative < 1e-5
    conversion.export_saved_model(whole.source, tmp_path / "saved")
    model = graph.read(conversion.convert_float(tmp_path / "saved", "float32"))
    # Batch normalisation is folded there, as in OpenVINO's files: kernels and biases.
    weights = sum(int(np.prod(tensor.shape)) for tensor in model.tensors if tensor.is_constant and tensor.is_float)
    assert weights == 30_222_793
    assert graph_facts.macs(model) == 11_070_834_528
    assert round(gflops_of_open_model_zoo(model), 3) == 22.227


def gflops_of_open_model_zoo(model: graph.Graph) -> float:
    """Count as OpenVINO's Model Analyzer does: 2 for each multiply-accumulate, for each element of a ReLU, and for each of the
    residual scales and the input's mean and scale (multiply, add); 1 for each element of a sum and each value that is pooled.
    """
    total = 2 * graph_facts.macs(model)
    for op in model.ops:
        size = int(np.prod(model.tensors[op.outputs[0]].shape))
        if op.name in ("CONV_2D", "ADD") and op.options["activation"] == RELU:
            total += 2 * size
        if op.name == "ADD":
            total += size + 2 * size  # the sum, and the scale that TFLite has in the convolution before it
        if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            total += size * op.options["filter_h"] * op.options["filter_w"]
    return float(total + 2 * np.prod(model.tensors[model.main.inputs[0]].shape)) / 1e9


def test_folders_of_photos_name_all_classes_but_the_background(frozen: Path, tmp_path: Path) -> None:
    from quantize.commands.source_flags import load_source

    for i in range(1000):
        (tmp_path / f"n{i:04d}").mkdir()
        (tmp_path / f"n{i:04d}" / "photo.jpg").touch()  # folders without any photo are no classes
    args = build_parser("quantize").parse_args(["quantize", str(frozen), "--images", str(tmp_path)])
    (output,) = load_source(args, images=str(tmp_path)).contract.outputs
    assert (output.labels[0], output.labels[1], output.labels[1000]) == ("background", "n0000", "n0999")
