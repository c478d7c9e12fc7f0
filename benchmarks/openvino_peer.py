"""TF-slim's graph through OpenVINO beside our files of it: do they answer alike, and how fast is each on this machine?

    python -m venv ov && ov/bin/pip install openvino
    python benchmarks/openvino_peer.py inception_resnet_v2.pb out/*.tflite --images photos/ --python ov/bin/python

OpenVINO runs in an interpreter of its own (``--python``), on the frozen graph itself, cut at the output, in float32. All get the same
tensors and the same number of threads, and take turns in ``--rounds`` rounds; the time is the median of all runs. Prints a table and
appends it to ``benchmarks/results/openvino_peer.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import append

OUTPUT = "InceptionResnetV2/AuxLogits/Logits/BiasAdd"

PEER = """
import json, statistics, sys, time
import numpy as np
import openvino as ov
graph, output, tensors, answers, threads, runs = sys.argv[1:]
core = ov.Core()
inputs = np.load(tensors)
model = ov.convert_model(graph, input=[("input:0", list(inputs[:1].shape))], output=[output + ":0"])
core.set_property("CPU", {"INFERENCE_NUM_THREADS": int(threads), "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
compiled = core.compile_model(model, "CPU")
request = compiled.create_infer_request()
def run(tensor):
    return np.array(request.infer({0: tensor})[compiled.output(0)])[0]
np.save(answers, np.stack([run(tensor[None]) for tensor in inputs]))
times = []
for _ in range(int(runs)):
    begin = time.perf_counter_ns()
    run(inputs[:1])
    times.append((time.perf_counter_ns() - begin) / 1e6)
print(json.dumps({"version": ov.__version__, "ms": times}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--python", required=True, help="an interpreter that has openvino")
    parser.add_argument("--output", default=OUTPUT)
    parser.add_argument("--count", type=int, default=20, help="photos")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="of each round")
    args = parser.parse_args()
    result = measure(args)
    print(f"{'':32}{'ms':>8}{'ratio':>8}{'largest difference':>20}{'same first':>12}")
    for row in result["rows"]:
        ratio = row["ms"] / result["rows"][0]["ms"]
        print(f"{row['name']:32}{row['ms']:8.1f}{ratio:8.2f}{row['difference']:20.1e}{row['same_first']:12.0%}")
    append("openvino_peer", result)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return one row for OpenVINO and one for each file; differences are relative to the largest of OpenVINO's answers."""
    import edge
    from edge.data.dataset import LabelledImages
    from edge.runtime.preprocess import preprocess

    models = [edge.load(file, threads=args.threads) for file in args.files]
    photos = [item.path for item in LabelledImages.open(args.images, unlabelled=True).subset(args.count)]
    fed = models[0].contract.input
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "in.npy", np.concatenate([preprocess(photo, fed) for photo in photos]))
        answers = [np.stack([model.predict(photo)[model.contract.outputs[0].name] for photo in photos]) for model in models]
        tensors = [model.preprocess(photos[0]) for model in models]
        times: list[list[float]] = [[] for _ in range(len(models) + 1)]
        peer: dict[str, Any] = {}
        for _ in range(args.rounds):
            words = [folder / "in.npy", folder / "out.npy", args.threads, args.runs]
            command = [args.python, "-c", PEER, str(args.graph), args.output, *map(str, words)]
            peer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
            times[0] += peer["ms"]
            for model, tensor, own in zip(models, tensors, times[1:], strict=True):
                for _ in range(args.runs):
                    begin = time.perf_counter_ns()
                    model.invoke(tensor)
                    own.append((time.perf_counter_ns() - begin) / 1e6)
        expected = np.load(folder / "out.npy")
    rows = [{"name": f"OpenVINO {peer['version'].split('-')[0]} float32", "ms": statistics.median(times[0])}]
    rows += [{"name": model.path.name, "ms": statistics.median(own)} for model, own in zip(models, times[1:], strict=True)]
    for row, found in zip(rows, [expected, *answers], strict=True):
        row["difference"] = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
        row["same_first"] = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
    return {"photos": len(photos), "threads": args.threads, "rows": rows}


if __name__ == "__main__":
    raise SystemExit(main())
