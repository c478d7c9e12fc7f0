"""What edgekit costs on the board over the bare interpreter: per picture, for a fresh process, and in memory.

    python benchmarks/board_overhead.py flowers.int8.tflite rose.jpg [--threads 2] [--repeat 15]

Each ratio is edgekit's figure over that of code written by hand for the same artefact and picture (Pillow to decode and resize,
numpy to normalise and quantize, the interpreter): `classify` and the bare run of the model in one process, in alternation; start of a
fresh process (imports, load, first answer), in alternation; peak resident and private dirty memory of those processes; and what two
processes of one model take together (PSS) over what one of them takes alone. Medians over the repetitions. The ratio of processor time
is there for busy machines; it counts the hashing of the file, which otherwise runs on a second core. The cache of packed weights is
warm: an unmeasured round makes it. ``--no-weight-cache`` measures edgekit without. Appends to ``benchmarks/results/board_overhead.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import append

ROOT = Path(__file__).resolve().parents[1]

# Both programs get: artefact, picture, threads, mean, scale. They print seconds until the first answer, peak MiB and the answer.
# Private dirty pages are what the kernel cannot drop. Each line on stdin asks for the share of memory.
PEAK = """
seconds, cpu_s = time.perf_counter() - start, time.process_time()
def mib(path, name):
    return next(int(l.split()[1]) / 1024 for l in open(path) if l.startswith(name))
memory = {"peak_mib": mib("/proc/self/status", "VmHWM"), "private_dirty_mib": mib("/proc/self/smaps_rollup", "Private_Dirty")}
print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, **memory, "answer": answer}), flush=True)
for line in sys.stdin:
    print(mib("/proc/self/smaps_rollup", "Pss:"), flush=True)
"""
BARE = (
    """
import json, sys, time
start = time.perf_counter()
path, picture, threads, mean, scale = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
import numpy as np
from PIL import Image
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(model_path=path, num_threads=threads)
interpreter.allocate_tensors()
into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
_, height, width, _ = into["shape"]
image = Image.open(picture).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
real = (np.asarray(image, np.float32) - mean) / scale
if into["dtype"] != np.float32:
    step, zero = into["quantization"]
    limits = np.iinfo(into["dtype"])
    real = np.clip(np.round(real / step + zero), limits.min, limits.max).astype(into["dtype"])
interpreter.set_tensor(into["index"], real[np.newaxis])
interpreter.invoke()
answer = int(interpreter.get_tensor(out["index"])[0].argmax())
"""
    + PEAK
)
EDGE = (
    """
import json, sys, time
start = time.perf_counter()
sys.path.insert(0, sys.argv[6])
import edge
model = edge.load(sys.argv[1], threads=int(sys.argv[3]), weight_cache=sys.argv[7] == "True")
answer = model.classify(sys.argv[2]).best.class_id
"""
    + PEAK
)


def main() -> int:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--rounds", type=int, help="of single runs in one process (default: 10 for each repetition, 30 at least)")
    parser.add_argument("--no-weight-cache", dest="weight_cache", action="store_false")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as bytecode:
        fresh = _fresh_process(args, bytecode)
    report = {
        "artefact": args.artefact.name,
        "picture": {"name": args.picture.name, "bytes": args.picture.stat().st_size},
        "threads": args.threads,
        "repeat": args.repeat,
        "weight_cache": args.weight_cache,
        **_per_picture(args),
        **fresh,
    }
    print(json.dumps(report, indent=1))
    append("board_overhead", report)
    return 0


def _per_picture(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    import edge
    from edge.runtime.interpreter import import_package

    model = edge.load(args.artefact, threads=args.threads, weight_cache=args.weight_cache)
    spec, tensor = model.contract.input, model.input
    interpreter = import_package()[1].Interpreter(model_path=str(args.artefact), num_threads=args.threads)
    interpreter.allocate_tensors()
    out = interpreter.get_output_details()[0]
    data = args.picture.read_bytes()
    mean, scale = np.array(spec.mean, np.float32), np.array(spec.scale, np.float32)

    def by_hand() -> int:
        picture = Image.open(io.BytesIO(data)).convert("RGB").resize((spec.width, spec.height), Image.Resampling.BILINEAR)
        real = (np.asarray(picture, np.float32) - mean) / scale
        if tensor.quant is not None:
            limits = np.iinfo(tensor.dtype)
            quantized = np.round(real / tensor.quant.scale + tensor.quant.zero_point)
            real = np.clip(quantized, limits.min, limits.max).astype(tensor.dtype)
        interpreter.set_tensor(tensor.index, real[np.newaxis])
        interpreter.invoke()
        return int(interpreter.get_tensor(out["index"])[0].argmax())

    rounds = args.rounds or max(30, 10 * args.repeat)
    with model.exclusive() as loaded:
        own_ms, invoke_ms = _alternate([loaded.invoke, interpreter.invoke], rounds=rounds)
    edgekit_ms, hand_ms = _alternate([lambda: model.classify(data).best, by_hand], rounds=rounds)
    return {
        "classify_ms": edgekit_ms,
        "by_hand_ms": hand_ms,
        "own_invoke_ms": own_ms,
        "invoke_ms": invoke_ms,
        "classify_ratio": edgekit_ms / hand_ms,
        "invoke_ratio": own_ms / invoke_ms,
    }


def _fresh_process(args: argparse.Namespace, bytecode: str) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    import edge

    spec = edge.load(args.artefact, threads=args.threads).contract.input
    arguments = [str(args.artefact.absolute()), str(args.picture.absolute()), str(args.threads)]
    arguments += [str(spec.mean[0]), str(spec.scale[0]), str(ROOT), str(args.weight_cache)]
    found: dict[str, list[dict[str, Any]]] = {"bare": [], "edge": []}
    # Bytecode is kept, as an installation has it, and the first round (which writes it) does not count.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    for _ in range(args.repeat + 1):
        for name, program in (("bare", BARE), ("edge", EDGE)):
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments],
                check=True,
                capture_output=True,
                text=True,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
            )
            found[name].append({**json.loads(done.stdout), "process_s": time.perf_counter() - begin})
    for runs in found.values():
        del runs[0]
    answers = {run["answer"] for runs in found.values() for run in runs}
    if len(answers) != 1:
        print(f"note: the two programs answer differently: {sorted(answers)}", file=sys.stderr)
    median = {
        f"{name}_{key}": statistics.median(run[key] for run in runs)
        for name, runs in found.items()
        for key in ("seconds", "process_s", "cpu_s", "peak_mib", "private_dirty_mib")
    }
    pss = {name: _pss(program, arguments, environment) for name, program in (("bare", BARE), ("edge", EDGE))}
    return {
        **median,
        "start_ratio": median["edge_seconds"] / median["bare_seconds"],
        "process_ratio": median["edge_process_s"] / median["bare_process_s"],
        "cpu_ratio": median["edge_cpu_s"] / median["bare_cpu_s"],
        "memory_ratio": median["edge_peak_mib"] / median["bare_peak_mib"],
        "private_dirty_ratio": median["edge_private_dirty_mib"] / median["bare_private_dirty_mib"],
        **{f"{name}_{key}": value for name, found_pss in pss.items() for key, value in found_pss.items()},
    }


def _pss(program: str, arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Return the proportional memory in MiB of one process alone, and of two that have the same model open at once."""
    with contextlib.ExitStack() as ended:
        running: list[subprocess.Popen[str]] = []
        totals = []
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
                env=environment,
            )
            running.append(ended.enter_context(process))
            assert process.stdout is not None
            process.stdout.readline()  # its first answer is there
            totals.append(sum(map(_asked, running)))
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
    return {"pss_one_mib": totals[0], "pss_two_mib": totals[1], "pss_ratio": totals[1] / totals[0]}


def _asked(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None and process.stdout is not None
    print(file=process.stdin, flush=True)
    return float(process.stdout.readline())


def _alternate(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the median milliseconds of each call, taken in turns so that a busy machine is as busy for all of them."""
    times: list[list[int]] = [[] for _ in calls]
    pairs = list(zip(calls, times, strict=True))
    for i in range(rounds + 5):
        # Another one goes first each time: whatever comes after a given call finds its caches.
        pairs = pairs[1:] + pairs[:1]
        for call, kept in pairs:
            begin = time.perf_counter_ns()
            call()
            if i >= 5:
                kept.append(time.perf_counter_ns() - begin)
    return [statistics.median(kept) / 1e6 for kept in times]


if __name__ == "__main__":
    sys.exit(main())
