"""Networks whose files order the outputs otherwise than the contract does: every command pairs outputs by name, never by position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge
import quantize
from edge.artefact import blocks, graph
from edge.errors import EdgeError
from quantize.analyse import explain, tune
from quantize.analyse.paired import Photos
from quantize.analyse.sensitivity import MixedMaker
from quantize.calibrate import activations, output_error
from quantize.ptq import PtqConfig
from quantize.qat import bridge
from quantize.qat import tensors as qat_tensors
from quantize.qat.api import QatConfig, quantization_aware
from quantize.tflite import answers, conversion
from quantize.tflite.answers import Answer

pytestmark = pytest.mark.converts

LABELS = ["ant", "bee", "cat", "dog"]
TWO = ("alpha", "zulu")
THREE = ("alpha", "mike", "zulu")
KINDS = {"alpha": "probabilities", "mike": "regression", "zulu": "probabilities"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A network, its raw flatbuffers (outputs as the converter orders them), and images with the classes that ``alpha`` gives."""

    source: Any
    reference: bytes
    int8: bytes
    photos: Photos
    folder: Path


def network(names: tuple[str, ...], *, seed: int = 0, pre_activation: bool = False) -> Any:
    """``zulu`` has ``alpha``'s weights in reverse order: one taken for the other, no class agrees."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((32, 32, 3))
    body = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    if pre_activation:
        for _ in range(2):
            norm = keras.layers.BatchNormalization()
            body = keras.layers.Activation("relu")(norm(keras.layers.Activation("relu")(body)))
            norm.set_weights([np.linspace(a, b, 8, dtype=np.float32) for a, b in ((0.5, 2), (-0.1, 0.3), (0, 0.2), (0.5, 1))])
            body = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(body)
    body = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(body))
    heads = {
        name: keras.layers.Dense(1 if name == "mike" else 4, activation=None if name == "mike" else "softmax", name=name)
        for name in names
    }
    made = keras.Model(image, [heads[name](body) for name in names])
    kernel = np.random.default_rng(seed).normal(size=(8, 4)).astype(np.float32) * 20
    for name, values in (("alpha", kernel), ("zulu", kernel[:, ::-1])):
        heads[name].set_weights([values, np.zeros(4, np.float32)])
    return made


def make(names: tuple[str, ...], folder: Path, network_given: Any = None) -> Made:
    kinds = {name: KINDS[name] for name in names}
    labels = {name: LABELS for name in names if KINDS[name] == "probabilities"}
    given = network(names) if network_given is None else network_given
    source = quantize.load(given, name="several", preprocess="inception", outputs=kinds, labels=labels)
    rng = np.random.default_rng(1)
    files, tensors = [], []
    (folder / "images").mkdir()
    for number in range(120):
        colour = rng.integers(0, 256, 3)
        pixels = np.clip(colour + rng.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
        files.append(folder / "images" / f"{number:03}.png")
        Image.fromarray(pixels).save(files[-1])
        tensors.append(edge.runtime.preprocess.preprocess(files[-1], source.contract.input))
    classes = [int(np.argmax(source.predict(tensor)["alpha"])) for tensor in tensors]
    rows = [f"{file},{name},{LABELS.index(name) * 0.1}" for file, name in zip(files, (LABELS[i] for i in classes), strict=True)]
    (folder / "images.csv").write_text("\n".join([f"path,alpha,{'mike' if 'mike' in names else 'other'}", *rows]) + "\n")
    photos = Photos(tensors=tensors, labels=np.array(classes, np.int32), ids=tuple(map(str, files)), unreadable=())
    (folder / "saved").mkdir()
    conversion.export_saved_model(source, folder / "saved")
    reference = conversion.convert_float(folder / "saved", "float32")
    int8 = conversion.quantize_int8(conversion.calibrate(reference, tensors[:40]), io="float32")
    return Made(source=source, reference=reference, int8=int8, photos=photos, folder=folder)


@pytest.fixture(scope="module", params=[TWO, THREE], ids=["two", "three"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(request.param, tmp_path_factory.mktemp("several"))


def predicted(made: Made) -> list[dict[str, NDArray[np.float32]]]:
    return [made.source.predict(tensor) for tensor in made.photos.tensors[:5]]


def test_the_converter_orders_outputs_otherwise_and_names_find_them(made: Made) -> None:
    names = answers.output_names(graph.read(made.reference))
    assert names != made.source.output_names  # else this module would test nothing
    for file, close in ((made.reference, 1e-3), (made.int8, 0.3)):
        for answer, expected in zip(activations.run(file, made.photos.tensors[:5]), predicted(made), strict=True):
            assert set(answer) == set(expected)
            for name, value in expected.items():
                np.testing.assert_allclose(answer[name], value, atol=close)


def test_an_answer_has_a_view_in_any_order_and_does_not_change() -> None:
    one, two = np.zeros(1, np.float32), np.ones(2, np.float32)
    answer = Answer({"zoom": one, "kind": two})
    assert answer.in_order(["kind", "zoom"]) == (two, one) and list(answer) == ["zoom", "kind"]
    with pytest.raises(TypeError):
        answer["zoom"] = two  # type: ignore[index]


def test_tune_judges_the_output_that_has_the_labels(made: Made, tmp_path: Path) -> None:
    good = tune.tune(
        made.reference,
        made.int8,
        made.photos,
        made.source.contract,
        max_drop=0.2,
        integer_only=True,
        predict_ms=len,
        state=tmp_path,
    )
    assert good.chosen is not None and good.candidates[0].search.agreement == good.candidates[0].search.top1
    assert good.candidates[0].search.top1 is not None and good.candidates[0].search.top1 > 0.9
    # The same network but for alpha, whose classes are moved by one: zulu, which the file has first, still agrees in every image.
    twisted = network(made.source.output_names)
    layer = twisted.get_layer("alpha")
    layer.set_weights([np.roll(layer.get_weights()[0], 1, axis=1), layer.get_weights()[1]])
    (tmp_path / "twisted").mkdir()
    other = make(made.source.output_names, tmp_path / "twisted", twisted)
    bad = tune.tune(
        made.reference,
        other.int8,
        made.photos,
        made.source.contract,
        max_drop=0.2,
        integer_only=True,
        predict_ms=len,
        state=tmp_path,
    )
    assert bad.chosen is None and bad.candidates[0].search.agreement is not None and bad.candidates[0].search.agreement < 0.1


def test_explain_measures_blocks_and_rungs_by_name(made: Made, tmp_path: Path) -> None:
    photos = quantize.RepresentativeDataset.from_folder(made.folder / "images", count=40, contract=made.source.contract)
    config = PtqConfig(ranges="minmax")
    files = {}
    for artefact in quantize.post_training_variants(made.source, photos, ("float32", "int8"), config=config):
        files[artefact.variant] = tmp_path / f"{artefact.variant}.tflite"
        files[artefact.variant].write_bytes(artefact.data)
    found = explain.explain(files["int8"], reference=files["float32"], images=made.folder / "images.csv", refine=0)
    last = found.rungs[-1].total
    assert last.agreement is not None and last.agreement > 0.9 and last.error < 0.1
    reference, candidate = (edge.artefact.container.read(files[name]).flatbuffer() for name in ("float32", "int8"))
    maker = MixedMaker(bytes(reference), bytes(candidate))
    compared = output_error.kinds_of(made.source.contract)
    mixed = activations.run(maker.make(()), made.photos.tensors[:40])
    plain = activations.run(bytes(reference), made.photos.tensors[:40])
    assert output_error.per_image(plain, mixed, compared).mean() < 0.1
    assert all(abs(entry.gain) < 0.1 for entry in found.blocks)


def test_references_are_stored_by_name(made: Made, tmp_path: Path) -> None:
    stored = quantize.reference_outputs(made.source, made.folder / "images", tmp_path / "reference.npz")
    from edge.files import sha256_file

    for path, expected in zip(made.photos.ids, predicted(made), strict=False):
        answer = stored.get(sha256_file(Path(path)))
        assert answer is not None and set(answer) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(answer[name], value.reshape(-1), atol=1e-4)


@pytest.mark.parametrize("names", [TWO, THREE], ids=["two", "three"])
def test_training_that_cannot_graft_reads_each_file_anew(names: tuple[str, ...], tmp_path: Path) -> None:
    """Equal constants of an untrained network are one tensor; once they differ, the same layer is a tensor of another number."""
    from quantize.qat import export as qat_export

    made = make(names, tmp_path, network(names, pre_activation=True))
    flat = bridge.bridge(made.source.model).network
    exporter = qat_export.Exporter(made.source, flat, qat_tensors.find(flat), lambda: iter(made.photos.tensors[:8]))
    assert not exporter.grafts
    rng = np.random.default_rng(2)
    for layer in flat.layers:
        layer.set_weights([w * rng.uniform(0.8, 1.2, w.shape) + rng.uniform(0.01, 0.1, w.shape) for w in layer.get_weights()])
    trained = exporter.float32()
    held = qat_export.run_all(trained, made.photos.tensors[0])
    for name, tensor in zip(names, flat.outputs, strict=True):
        layer = tensor.node.layer.name
        found = held[exporter.tensor_of[layer]]
        np.testing.assert_allclose(found, qat_export.tap(flat, [layer], made.photos.tensors[0])[layer], rtol=1e-3, atol=1e-4)
        expected = dict(zip(names, flat(made.photos.tensors[0]), strict=True))[name]
        np.testing.assert_allclose(activations.run(trained, made.photos.tensors[:1])[0][name], np.asarray(expected)[0], atol=1e-3)


@pytest.mark.parametrize(("names", "pre_activation"), [(TWO, True), (THREE, False)], ids=["two-standalone-norms", "three"])
def test_a_trained_file_answers_by_name(names: tuple[str, ...], pre_activation: bool, tmp_path: Path) -> None:
    made = make(names, tmp_path, network(names, pre_activation=pre_activation))
    config = QatConfig(epochs=1, learning_rate=1e-4, batch_size=16, representative=20)
    result = quantization_aware(made.source, _half(made, 0), _half(made, 1), config, out=tmp_path / "out")
    assert set(result.reports["qat"]["outputs"]) == set(names)
    for row in result.record:
        # A near tie of 60 may turn over; of an output taken for the other none would agree.
        assert row["output"] == "alpha" and row["parity"]["agreement"] > 0.9 and row["parity"]["steps"] < 4, row
        assert row["outputs"]["alpha"]["int8"] > 0.8


def _half(made: Made, part: int) -> Path:
    lines = (made.folder / "images.csv").read_text().splitlines()
    path = made.folder / f"half{part}.csv"
    path.write_text("\n".join([lines[0], *lines[1 + part :: 2]]) + "\n")
    return path


def test_a_signature_that_names_other_tensors_is_refused(made: Made) -> None:
    from quantize.tflite import edit as flatbuffer_edit

    schema = flatbuffer_edit.classes()
    model = schema.ModelT.InitFromPackedBuf(made.reference, 0)
    model.signatureDefs[0].outputs = model.signatureDefs[0].outputs[:1]
    with pytest.raises(EdgeError, match="signature names the outputs"):
        activations.run(flatbuffer_edit.pack(schema, model), made.photos.tensors[:1])


def test_blocks_of_one_name_stay_apart(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((48, 48, 3))
    body = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    for stage in "abcd":
        body = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name=f"{stage}_down")(body)
        inner = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"{stage}_in")(body)
        body = keras.layers.Add(name=f"{stage}_sum")([body, inner])
    found = keras.layers.Dense(4, activation="softmax", name="alpha")(keras.layers.GlobalAveragePooling2D()(body))
    source = quantize.load(keras.Model(image, found), name="reductions", preprocess="inception", labels=LABELS)
    conversion.export_saved_model(source, tmp_path / "saved")
    reference = conversion.convert_float(tmp_path / "saved", "float32")
    rng = np.random.default_rng(0)
    tensors = [rng.uniform(-1, 1, (1, 48, 48, 3)).astype(np.float32) for _ in range(30)]
    groups = blocks.blocks(graph.read(reference))
    assert [group.name for group in groups].count("reduction") == 3
    assert len({group.id for group in groups}) == len({group.title for group in groups}) == len(groups)

    int8 = conversion.quantize_int8(conversion.calibrate(reference, tensors), io="float32")
    answered = [int(np.argmax(answer["alpha"])) for answer in activations.run(reference, tensors)]
    wrong = np.array(
        [(i + 1) % 4 for i in answered], np.int32
    )  # float is never right: nothing is lost, and nothing proven by so few
    photos = Photos(tensors=tensors, labels=wrong, ids=tuple(map(str, range(30))), unreadable=())
    timed: dict[bytes, int] = {}

    def remember(data: bytes) -> float:
        return float(timed.setdefault(data, len(timed)) + 1)

    result = tune.tune(reference, int8, photos, source.contract, max_drop=0.001, predict_ms=remember, state=tmp_path)
    assert len(result.ranking) == len(groups) and len({entry.block.id for entry in result.ranking}) == len(groups)
    whole = next(candidate for candidate in result.candidates if len(candidate.in_float) == len(groups))
    assert {tuple(pair) for pair in whole.to_dict()["ops"]} == {(group.first, group.last) for group in groups}
    assert result.allowed >= len(result.candidates)


def test_the_file_that_is_delivered_is_the_one_that_was_measured(made: Made, tmp_path: Path) -> None:
    measured: list[bytes] = []
    found = tune.tune(
        made.reference,
        made.int8,
        made.photos,
        made.source.contract,
        max_drop=0.2,
        predict_ms=lambda data: measured.append(data) or 1.0,  # type: ignore[func-returns-value]
        state=tmp_path,
    )
    assert found.chosen is not None and found.flatbuffer == measured[-1]


def test_nine_candidates_at_the_budget_pass_no_more_often_than_promised() -> None:
    """Each truly drops by 5 points, the budget; on images of their own they are as apart as candidates can be."""
    rng = np.random.default_rng(0)
    images, drop, searches, candidates = 1000, 0.05, 4000, 9
    assert tune.candidates_of(100) == candidates + 1 and tune.candidates_of(64) == candidates
    confidence = tune.confidence(candidates)
    lost = rng.binomial(images, drop + 0.02, (searches, candidates))
    won = rng.binomial(images - lost, 0.02 / (1 - drop - 0.02))
    known: dict[tuple[int, int], bool] = {}

    def passes(a: int, b: int) -> bool:
        if (a, b) not in known:
            interval = edge.numbers.statistics.paired_interval(a, b, images, confidence)
            known[a, b] = edge.numbers.statistics.verdict(interval, drop) == edge.numbers.statistics.PASS
        return known[a, b]

    passed = [any(passes(int(a), int(b)) for a, b in zip(*row, strict=True)) for row in zip(lost, won, strict=True)]
    assert np.mean(passed) <= 0.025
    assert np.mean(passed) > 0.005  # not by refusing everything
