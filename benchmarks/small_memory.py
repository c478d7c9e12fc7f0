"""In how little memory a model answers: with its packed weights in the cache, and in the interpreter.

    sudo python benchmarks/small_memory.py flowers.float32.tflite rose.jpg --limits 512 256 128

Each try is a fresh process in a control group (Linux, root) that may have so many MiB, page cache included, and no swap. The first with the
cache makes it there, under the same limit. Appends to ``benchmarks/results/small_memory.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import append

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.swappiness"),
    Path("/sys/fs/cgroup"): ("memory.max", "memory.swap.max"),
}
PROGRAM = """
import sys, time
open(sys.argv[1], "w").write("0")
sys.path.insert(0, sys.argv[5])
import edge
model = edge.load(sys.argv[2], threads=2, weight_cache=sys.argv[4] == "True")
begin = time.perf_counter()
answer = model.classify(sys.argv[3]).best.class_id
print(answer, model.runtime.weight_cache, time.perf_counter() - begin)
"""


def main() -> int:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--limits", type=int, nargs="+", default=[512, 384, 256, 192, 128], help="MiB")
    args = parser.parse_args()
    tries = []
    # On a disk: what lies in memory counts as memory.
    with tempfile.TemporaryDirectory(dir=Path.home()) as home:
        for limit in args.limits:
            for name, cached in (("cache, made there", True), ("cache, warm", True), ("interpreter", False)):
                place = f"{home}/{limit}"
                tries.append({"limit_mib": limit, "way": name, **_try(args, limit, cached, place)})
                print(json.dumps(tries[-1]))
    append("small_memory", {"artefact": args.artefact.name, "bytes": args.artefact.stat().st_size, "tries": tries})
    return 0


def _try(args: argparse.Namespace, limit: int, cached: bool, home: str) -> dict[str, Any]:
    with _group(limit) as procs:
        arguments = [str(procs), str(args.artefact.absolute()), str(args.picture.absolute()), str(cached), str(ROOT)]
        environment = {**os.environ, "EDGEKIT_HOME": home}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, env=environment, check=False
        )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()
        return {"answered": False, "ended": done.returncode, "said": last[-1][:200] if last else ""}
    answer, used, seconds = done.stdout.split()
    return {"answered": True, "answer": int(answer), "weight_cache": used == "True", "classify_s": float(seconds)}


@contextlib.contextmanager
def _group(limit_mib: int) -> Iterator[Path]:
    """Make a control group with a limit, and give the file that a process writes itself into."""
    for root, (limit, swap) in GROUPS.items():
        group = root / f"edgekit-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(limit_mib << 20))
            (group / swap).write_text("0")
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group / "cgroup.procs"
        finally:
            while group.exists():  # a process that was ended may be counted for a moment still
                with contextlib.suppress(OSError):
                    group.rmdir()
                time.sleep(0.05)
        return
    raise SystemExit("no control group with a limit of memory can be made here; run as root on Linux")


if __name__ == "__main__":
    sys.exit(main())
