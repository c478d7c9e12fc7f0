"""Every private name of TensorFlow, Keras and tensorflow-model-optimization that is used is listed, there, and used in one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.errors import MissingExtraError
from quantize import tf_private

QUANTIZE = Path(tf_private.__file__).parent
PACKAGES = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization")
OWN = {"self", "cls", "chatter", "flatbuffer_edit", "dataclasses"}  # whose underscores are our own


@pytest.mark.parametrize("name", tf_private.NAMES)
def test_this_version_has(name: str) -> None:
    assert tf_private.get(name) is not None


def test_its_objects_have_what_is_used_of_them() -> None:
    import tensorflow as tf
    import tf_keras

    @tf.function(input_signature=[tf.TensorSpec([1, 2])])  # type: ignore[untyped-decorator,unused-ignore]
    def twice(values: Any) -> Any:
        return values * 2.0

    converter = tf.lite.TFLiteConverter.from_concrete_functions([twice.get_concrete_function()])
    tf_private.per_channel_dense(converter, False)
    assert getattr(converter, tf_private.ATTRIBUTES[0]) is True
    layer = tf_keras.layers.Dense(2)
    tf_private.rename(layer, "another")
    assert layer.name == "another"
    for keras in (tf_keras, pytest.importorskip("keras")):
        network = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
        assert len(tf_private.nodes_by_depth(network)) == 2


def test_a_version_that_lacks_one_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {
        "attribute": "tensorflow.lite.python.convert:mlir_quantize_gone",
        "module": "tensorflow.lite.python.gone:thing",
    }
    monkeypatch.setattr(tf_private, "NAMES", gone)
    for name, path in gone.items():
        with pytest.raises(MissingExtraError, match=rf"tensorflow 2\.\S+ has no {path}.*pip install"):
            tf_private.get(name)
    with pytest.raises(MissingExtraError, match=r"TFLiteConverter\._experimental_disable"):
        tf_private.per_channel_dense(object(), True)


def private_uses(source: str) -> Iterator[str]:
    """Name the private modules that ``source`` imports, and the private attributes of other people's objects that it touches."""
    tree = ast.parse(source)
    ours = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (module for module in modules if module.partition(".")[0] in PACKAGES and module.count("."))
        hidden = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if hidden and not (isinstance(node.value, ast.Name) and node.value.id in {*OWN, *ours}):  # type: ignore[attr-defined]
            yield ast.unparse(node)
        called = (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr", "hasattr")
        )
        if called and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):  # type: ignore[attr-defined]
            name = str(node.args[1].value)  # type: ignore[attr-defined]
            if name.startswith("_") and not name.startswith("__"):
                yield name


def test_no_other_module_uses_one() -> None:
    found = {
        path.name: uses
        for path in sorted(QUANTIZE.rglob("*.py"))
        if path.name != "tf_private.py" and (uses := list(private_uses(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_the_reading_itself_finds_them() -> None:
    source = (
        "from tensorflow.lite.python import convert\nimport keras.src.ops\nimport tensorflow as tf\n"
        "converter._experimental = 1\ngetattr(layer, '_name')\nself._own\ninterpreter._get_ops_details()\n"
    )
    assert set(private_uses(source)) == {
        "tensorflow.lite.python.convert",
        "keras.src.ops",
        "converter._experimental",
        "_name",
        "interpreter._get_ops_details",
    }
