from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge import cli
from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.errors import ArtefactError, ContractError, ImageError, ShapeError
from edge.runtime.classify import rank, scores
from edge.runtime.golden import pattern

MakeContract = Callable[..., Contract]
PackArtefact = Callable[..., Path]
INCEPTION = {"mean": (127.5,) * 3, "scale": (127.5,) * 3}


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return pattern("gradient", 30, 40)


def _by_hand(path: Path, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What the interpreter gives without any of our code, by tensor name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


def test_predict_is_what_the_interpreter_gives(tiny_float_artefact: Path, picture: NDArray[np.uint8]) -> None:
    model = edge.load(tiny_float_artefact, threads=1)
    (expected,) = _by_hand(tiny_float_artefact, model.preprocess(picture)).values()
    found = model.predict(picture)
    assert list(found) == ["probabilities"]
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(found["probabilities"], expected[0])


def test_int8_outputs_are_dequantized_by_their_own_tensor(tiny_int8_artefact: Path, picture: NDArray[np.uint8]) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    tensor = model.preprocess(picture)
    assert tensor.dtype == np.int8
    (raw,) = _by_hand(tiny_int8_artefact, tensor).values()
    np.testing.assert_array_equal(model.invoke(tensor)["probabilities"], raw[0])
    # A softmax is quantized to 256 steps from zero on.
    expected = (raw[0].astype(np.float32) + 128) / 256
    np.testing.assert_array_equal(model.predict(picture)["probabilities"], expected)


def test_uint8_inputs_and_outputs_work_too(
    tiny_uint8_flatbuffer: bytes,
    tiny_int8_artefact: Path,
    tiny_contract: MakeContract,
    pack: PackArtefact,
    picture: NDArray[np.uint8],
) -> None:
    model = edge.load(pack(tiny_uint8_flatbuffer, tiny_contract()))
    assert model.preprocess(picture).dtype == np.uint8
    twin = edge.load(tiny_int8_artefact)
    np.testing.assert_array_equal(model.predict(picture)["probabilities"], twin.predict(picture)["probabilities"])


def test_classify_sorts_and_names(tiny_float_artefact: Path, picture: NDArray[np.uint8]) -> None:
    model = edge.load(tiny_float_artefact)
    values = model.predict(picture)["probabilities"]
    found = model.classify(picture)
    assert [item.class_id for item in found] == list(np.argsort(-values))
    assert [item.label for item in found.top(2)] == [("cat", "dog", "bird", "fish")[i] for i in np.argsort(-values)[:2]]
    assert found.best.score == pytest.approx(float(values.max()))
    assert len(found.top(100)) == 4
    assert found.top(0) == []


def test_kernels_and_threads_are_passed_on(tiny_int8_artefact: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=2, kernels="reference")
    assert (model.runtime.threads, model.runtime.kernels) == (2, "reference")


def test_several_outputs_go_by_the_contracts_names_in_the_files_order(
    tiny_two_outputs_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, picture: NDArray[np.uint8]
) -> None:
    from edge.artefact import outline

    sizes = [shape[-1] for shape in outline.read(tiny_two_outputs_flatbuffer).outputs]
    angle = OutputSpec(name="angle", kind="regression")
    classes = OutputSpec(name="species", kind="probabilities", labels=("a", "b", "c", "d"))
    outputs = (angle, classes) if sizes == [1, 4] else (classes, angle)
    model = edge.load(pack(tiny_two_outputs_flatbuffer, tiny_contract(outputs=outputs)))
    found = model.predict(picture)
    assert found["angle"].shape == (1,)
    assert found["species"].sum() == pytest.approx(1.0, abs=1e-5)
    assert model.classify(picture).best.label == "abcd"[int(found["species"].argmax())]
    with pytest.raises(ContractError, match="no output 'angle' with classes"):
        model.classify(picture, output="angle")


def test_a_model_without_classes_says_so(
    tiny_float_flatbuffer: bytes, tiny_contract: MakeContract, pack: PackArtefact, picture: NDArray[np.uint8]
) -> None:
    model = edge.load(pack(tiny_float_flatbuffer, tiny_contract(outputs=(OutputSpec(name="embedding", kind="features"),))))
    with pytest.raises(ContractError, match=r"only embedding \(features\); use predict\(\)"):
        model.classify(picture)


def test_an_artefacts_contract_cannot_be_contradicted(tiny_float_artefact: Path) -> None:
    with pytest.raises(ContractError, match="carries its own contract"):
        edge.load(tiny_float_artefact, labels=["a", "b", "c", "d"])
    with pytest.raises(ContractError, match="carries its own contract"):
        edge.load(tiny_float_artefact, input=InputSpec(width=24, height=24))


def test_errors_of_the_picture_name_it(tiny_float_artefact: Path, tmp_path: Path) -> None:
    model = edge.load(tiny_float_artefact)
    with pytest.raises(ImageError, match=r"none\.jpg"):
        model.classify(tmp_path / "none.jpg")
    with pytest.raises(ShapeError, match="float32"):
        model.invoke(np.zeros((1, 3, 3, 3), np.float32))


def test_threads_may_share_a_model(tiny_int8_artefact: Path) -> None:
    model = edge.load(tiny_int8_artefact, threads=1)
    pictures = [pattern(f"noise-{i}", 24, 24) for i in range(8)]
    alone = [model.predict(picture)["probabilities"].tolist() for picture in pictures]
    together: dict[int, list[list[float]]] = {}

    def work(i: int) -> None:
        together[i] = [model.predict(pictures[i])["probabilities"].tolist() for _ in range(50)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found == [alone[i]] * 50 for i, found in together.items())
    assert len(together) == 8


# Scores


def test_logits_go_through_a_softmax() -> None:
    spec = OutputSpec(name="o", kind="logits", labels=("a", "b", "c"))
    found = rank(np.array([1.0, 1000.0, 999.0], np.float32), spec)
    assert [item.label for item in found] == ["b", "c", "a"]
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-1)))
    assert sum(item.score for item in found) == pytest.approx(1.0)


def test_probabilities_and_sigmoids_stay_as_they_are() -> None:
    values = np.array([0.9, 0.8], np.float32)
    for kind in ("probabilities", "multilabel"):
        np.testing.assert_array_equal(scores(values, OutputSpec(name="o", kind=kind)), values)


def test_the_background_class_is_never_an_answer() -> None:
    spec = OutputSpec(name="o", kind="probabilities", labels=("nothing", "a", "b"), background_index=0)
    found = rank(np.array([0.9, 0.02, 0.08], np.float32), spec)
    assert [(item.class_id, item.label) for item in found] == [(2, "b"), (1, "a")]


def test_equal_scores_come_in_the_order_of_the_classes() -> None:
    found = rank(np.full(5, 0.2, np.float32), OutputSpec(name="o", kind="probabilities"))
    assert [item.class_id for item in found] == [0, 1, 2, 3, 4]
    assert found.best.label == ""


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 values and 2 labels"):
        rank(np.zeros(3, np.float32), OutputSpec(name="o", kind="logits", labels=("a", "b")))


# Models of somebody else's


@pytest.fixture
def foreign(tiny_float_flatbuffer: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_float_flatbuffer)
    return path


def test_a_foreign_model_is_never_guessed_at(foreign: Path) -> None:
    with pytest.raises(ContractError, match="--preprocess inception, raw or unit"):
        edge.load(foreign)


def test_a_foreign_model_runs_once_it_is_said_how(foreign: Path, tiny_float_artefact: Path, picture: NDArray[np.uint8]) -> None:
    model = edge.load(foreign, input=INCEPTION, labels=["cat", "dog", "bird", "fish"])
    assert model.contract.outputs[0].kind == "probabilities"
    assert model.contract.input == InputSpec(width=24, height=24)
    twin = edge.load(tiny_float_artefact)
    assert model.classify(picture).top(4) == twin.classify(picture).top(4)
    with_background = edge.load(foreign, input=INCEPTION, labels=["dog", "bird", "fish"], background=0)
    assert with_background.contract.outputs[0].labels == ("background", "dog", "bird", "fish")


def test_a_foreign_models_recipe_must_fit_it(foreign: Path) -> None:
    with pytest.raises(ContractError, match="inputs have the shapes"):
        edge.load(foreign, input=InputSpec(width=299, height=299))
    with pytest.raises(ContractError, match="2 labels for 4 classes; expected one for each"):
        edge.load(foreign, input=INCEPTION, labels=["a", "b"])


def test_logits_have_to_be_named(tiny_logits_flatbuffer: bytes, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    path = tmp_path / "logits.tflite"
    path.write_bytes(tiny_logits_flatbuffer)
    with pytest.raises(ContractError, match="--kind logits"):
        edge.load(path, input=INCEPTION)
    model = edge.load(path, input=INCEPTION, kind="logits", background=0)
    assert sum(item.score for item in model.classify(picture)) < 1.0
    assert 0 not in [item.class_id for item in model.classify(picture)]


@pytest.mark.parametrize("kind", ["logits", "multilabel", "regression"])
def test_a_kind_that_the_graph_contradicts_is_refused(foreign: Path, kind: str) -> None:
    with pytest.raises(ContractError, match=rf"no output can be read as {kind}: .* gives probabilities; leave --kind out"):
        edge.load(foreign, input=INCEPTION, kind=kind)


def test_a_sigmoid_may_end_a_number(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    image = keras.Input((24, 24, 3), batch_size=1)
    value = keras.layers.Dense(1, activation="sigmoid", name="throttle")(keras.layers.GlobalAveragePooling2D()(image))
    path = tmp_path / "throttle.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, value)).convert())
    assert edge.load(path, input=INCEPTION).contract.outputs[0].kind == "probabilities"
    assert edge.load(path, input=INCEPTION, kind="regression").contract.outputs[0].kind == "regression"
    with pytest.raises(ContractError, match="no output can be read as logits"):
        edge.load(path, input=INCEPTION, kind="logits")


@pytest.mark.parametrize("command", ["selftest", "compare"])
def test_a_command_advises_no_flags_that_it_lacks(
    foreign: Path, tiny_images: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(foreign)] if command == "selftest" else [str(foreign), str(foreign), "--images", str(tiny_images)]
    assert cli.main([command, *files]) == 2
    said = capsys.readouterr().err
    assert "--preprocess" not in said and "this command takes files whose contract or TFLite Metadata says it" in said


def test_two_outputs_of_a_foreign_model_keep_its_names(tiny_two_outputs_flatbuffer: bytes, tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(tiny_two_outputs_flatbuffer)
    model = edge.load(path, input=INCEPTION, kind="regression")
    assert {o.name: o.kind for o in model.contract.outputs} == {"angle": "regression", "classes": "probabilities"}


def test_a_foreign_model_without_an_image_input_is_refused(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    words = keras.Input((7,), batch_size=1)
    path = tmp_path / "words.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras.Model(words, keras.layers.Dense(2)(words))).convert())
    with pytest.raises(ContractError, match=r"expected one image of shape \(1, height, width, 1 or 3\)"):
        edge.load(path, input=INCEPTION, kind="logits")


def test_a_damaged_artefact_is_not_taken_for_a_foreign_model(tiny_int8_artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_int8_artefact.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="missing or altered"):
        edge.load(path, input=INCEPTION)


@pytest.fixture(scope="module")
def map_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation network: a value per pixel and class."""
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    image = keras.Input((24, 24, 3), batch_size=1)
    path = tmp_path_factory.mktemp("map") / "map.tflite"
    network = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    return path


@pytest.mark.parametrize("kind", ["logits", "probabilities", "multilabel"])
def test_a_map_of_the_picture_is_no_class_vector(map_file: Path, kind: str) -> None:
    with pytest.raises(ContractError, match="has the shape 1x24x24x4: this is no class vector .* --kind features"):
        edge.load(map_file, input=INCEPTION, kind=kind)
    assert edge.load(map_file, input=INCEPTION, kind="features").predict(np.zeros((24, 24, 3), np.uint8))


def test_measuring_time_needs_no_kind(map_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preprocess", "inception", "--runs", "2", "--seconds", "0"]
    assert cli.main(["benchmark", str(map_file), *flags]) == 0
    assert cli.main(["classify", str(map_file), "x.png", *flags[:2]]) == 2
    assert "--kind" in capsys.readouterr().err
