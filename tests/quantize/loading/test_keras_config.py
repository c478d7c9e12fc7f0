"""Who reads whom, in the words of Keras 2 and of Keras 3."""

from __future__ import annotations

from typing import Any

import pytest

from quantize.loading.keras_config import calls


def tensor(layer: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": [layer, 0, 0]}}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([["a", 0, 0, {"y": 2.0, "name": None}]], [(["a"], 2.0)]),  # an operation that Keras 2 recorded
        ([[["a", 0, 0, {}]]], [(["a"], None)]),
        ([[["a", 0, 0, {}], ["b", 0, 1, {}]]], [(["a", "b"], None)]),
        ([[["a", 0, 0, {}]], [["b", 0, 0, {}]]], [(["a"], None), (["b"], None)]),  # a shared layer
        ([{"args": [tensor("a"), 127.5], "kwargs": {}}], [(["a"], 127.5)]),
        ([{"args": [1.0, tensor("a")], "kwargs": {}}], [(["a"], None)]),  # 1 - x is not x - 1
        ([{"args": [[tensor("a"), tensor("b")]], "kwargs": {}}], [(["a", "b"], None)]),
        ([{"args": [tensor("a")], "kwargs": {"mask": None, "value": tensor("b")}}], [(["a", "b"], None)]),
        ([{"args": [], "kwargs": {"inputs": tensor("a")}}], [(["a"], None)]),
        ([], []),
        (None, []),
    ],
)
def test_the_layers_that_a_call_reads(nodes: Any, expected: list[tuple[list[str], Any]]) -> None:
    assert list(calls(nodes)) == expected
