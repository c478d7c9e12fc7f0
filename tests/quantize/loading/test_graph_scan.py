"""SavedModels whose graph would touch files, run code, or could never run on a board: refused before TensorFlow loads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from quantize import LoadError, UnsafeModelError
from quantize.quiet import import_tensorflow, quiet


def saved_model(path: Path, function: Callable[[Any], Any], **functions: Any) -> Path:
    """Save ``function`` of one photo as the serving signature, and ``functions`` beside it."""
    tf = import_tensorflow()
    module = tf.Module()
    for name, extra in functions.items():
        setattr(module, name, extra)
    with quiet():
        traced = tf.function(function, autograph=False).get_concrete_function(
            tf.TensorSpec([None, 8, 8, 3], tf.float32, name="photo")
        )
        tf.saved_model.save(module, str(path), signatures={"serving_default": traced})
    return path


def mean(x: Any) -> dict[str, Any]:
    return {"mean": import_tensorflow().reduce_mean(x, axis=[1, 2])}


def test_a_plain_saved_model_loads(tmp_path: Path) -> None:
    source = quantize.load(saved_model(tmp_path / "good", mean), preprocess="raw")
    assert [output.kind for output in source.contract.outputs] == ["features"]
    np.testing.assert_allclose(source.predict(np.ones((1, 8, 8, 3), np.float32))["mean"], [1.0, 1.0, 1.0])


def test_files_touched_in_the_serving_function(tmp_path: Path) -> None:
    tf = import_tensorflow()
    victim = tmp_path / "touched"

    def reads(x: Any) -> dict[str, Any]:
        return {"mean": mean(x)["mean"] + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}

    def writes(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename=str(victim), contents="x")]):
            return {"mean": mean(x)["mean"] + 0}

    def prints(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.raw_ops.PrintV2(input="x", output_stream=f"file://{victim}")]):
            return {"mean": mean(x)["mean"] + 0}

    def saves(x: Any) -> dict[str, Any]:
        with tf.control_dependencies(
            [tf.raw_ops.SaveV2(prefix=str(victim), tensor_names=["x"], shape_and_slices=[""], tensors=[x])]
        ):
            return {"mean": mean(x)["mean"] + 0}

    def restores(x: Any) -> dict[str, Any]:
        stored = tf.raw_ops.RestoreV2(prefix=str(victim), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])
        return {"mean": mean(x)["mean"] + tf.reduce_sum(stored[0])}

    for function, op in (
        (reads, "ReadFile"),
        (writes, "WriteFile"),
        (prints, "PrintV2"),
        (saves, "SaveV2"),
        (restores, "RestoreV2"),
    ):
        with pytest.raises(UnsafeModelError, match=f"is {op}: it can touch files"):
            quantize.load(saved_model(tmp_path / op, function), preprocess="raw")
    assert not victim.exists()


def test_files_touched_in_functions_that_nobody_serves(tmp_path: Path) -> None:
    tf = import_tensorflow()

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def other(path: Any) -> Any:
        return tf.io.read_file(path)

    with pytest.raises(UnsafeModelError, match="is ReadFile.*model.export"):
        quantize.load(saved_model(tmp_path / "side", mean, other=other), preprocess="raw")


def test_python_functions_and_lookup_tables(tmp_path: Path) -> None:
    tf = import_tensorflow()

    def python(x: Any) -> dict[str, Any]:
        return {"mean": tf.ensure_shape(tf.numpy_function(lambda v: v, [mean(x)["mean"]], tf.float32), [None, 3])}

    with pytest.raises(UnsafeModelError, match="PyFunc: it runs Python code"):
        quantize.load(saved_model(tmp_path / "python", python), preprocess="raw")

    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)

    def looks_up(x: Any) -> dict[str, Any]:
        return {"mean": mean(x)["mean"] + tf.cast(table.lookup(tf.constant([1, 1, 1])), tf.float32)}

    with pytest.raises(LoadError, match="lookup tables cannot run"):
        quantize.load(saved_model(tmp_path / "table", looks_up, table=table), preprocess="raw")


def test_pictures_as_text_and_several_inputs(tmp_path: Path) -> None:
    tf = import_tensorflow()
    module = tf.Module()

    def decodes(data: Any) -> dict[str, Any]:
        return mean(tf.cast(tf.io.decode_image(data, expand_animations=False)[None, :8, :8], tf.float32))

    def pair(one: Any, two: Any) -> dict[str, Any]:
        return mean(one + two)

    photo = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    with quiet():
        decoder = tf.function(decodes).get_concrete_function(tf.TensorSpec([], tf.string, name="jpeg"))
        tf.saved_model.save(module, str(tmp_path / "jpeg"), signatures=decoder)
        tf.saved_model.save(module, str(tmp_path / "pair"), signatures=tf.function(pair).get_concrete_function(photo, photo))
        fixed = tf.function(mean).get_concrete_function(tf.TensorSpec([32, 8, 8, 3], tf.float32))
        tf.saved_model.save(module, str(tmp_path / "batch"), signatures=fixed)
        tf.saved_model.save(module, str(tmp_path / "named"), signatures={"other": fixed})
    with pytest.raises(LoadError, match="text or encoded pictures"):
        quantize.load(tmp_path / "jpeg", preprocess="raw")
    with pytest.raises(LoadError, match=r"has 2 inputs \(one, two\)"):
        quantize.load(tmp_path / "pair", preprocess="raw")
    with pytest.raises(LoadError, match="exactly 32 images at a time"):
        quantize.load(tmp_path / "batch", preprocess="raw")
    with pytest.raises(LoadError, match=r"no signature 'serving_default' \(it has other\)"):
        quantize.load(tmp_path / "named", preprocess="raw")


def test_a_custom_op_and_a_way_out_of_the_directory(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "model", mean)
    graph = path / "saved_model.pb"
    data = graph.read_bytes()
    graph.write_bytes(data.replace(b"\x12\x04Mean", b"\x12\x04Evil"))
    with pytest.raises(LoadError, match="is 'Evil', a custom op"):
        quantize.load(path, preprocess="raw")
    graph.write_bytes(data)
    (path / "assets").mkdir(exist_ok=True)
    (path / "assets" / "vocabulary.txt").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeModelError, match="symbolic link that leads out"):
        quantize.load(path, preprocess="raw")
