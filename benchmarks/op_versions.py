"""Measures which op versions an interpreter registers, for ``quantize/runtimes/*.json``.

    python benchmarks/op_versions.py env/bin/python "tflite-runtime 2.14.0" quantize/runtimes/tflite-runtime-2.14.json

The environment of the first argument holds the interpreter. It is offered a model with one op code at a time, versions 1 to 16:
it looks every op code up when it opens a file, so a refusal is about that pair and nothing else.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import flatbuffers

HIGHEST = 16
ASK = """
import base64, json, sys
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
for line in sys.stdin:
    name, version, model = json.loads(line)
    try:
        Interpreter(model_content=base64.b64decode(model))
    except (ValueError, RuntimeError):
        continue
    print(json.dumps([name, version]))
"""


def main() -> int:
    python, runtime, out = sys.argv[1:]
    from tensorflow.lite.python import schema_py_generated as schema

    ops = {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    questions = [
        json.dumps([name, version, base64.b64encode(_model(schema, code, version)).decode()])
        for name, code in ops.items()
        for version in range(1, HIGHEST + 1)
    ]
    done = subprocess.run([python, "-c", ASK], input="\n".join(questions), stdout=subprocess.PIPE, text=True, check=True)
    highest: dict[str, int] = {}
    for name, version in map(json.loads, done.stdout.splitlines()):
        highest[name] = max(version, highest.get(name, 0))
    report = {
        "runtime": runtime,
        "measured": f"{date.today()}, by offering the interpreter a model of one op at versions 1 to {HIGHEST}"
        " (benchmarks/op_versions.py)",
        "highest_version": dict(sorted(highest.items())),
    }
    Path(out).write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _model(schema: Any, code: int, version: int) -> bytes:
    op_code = schema.OperatorCodeT()
    # The deprecated field is one byte; 127 there means "see the new one".
    op_code.builtinCode, op_code.deprecatedBuiltinCode, op_code.version = code, min(code, 127), version
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = [1], schema.TensorType.FLOAT32, b"x"
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.inputs, subgraph.outputs, subgraph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [op_code], [subgraph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    sys.exit(main())
