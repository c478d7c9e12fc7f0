"""What every release of ai-edge-litert makes of an artefact: does it load, are the bits the same, is it as fast, what does it take.

    python benchmarks/runtimes.py flowers.int8.tflite flowers.float32.tflite [--from 2.1] [--threads 1] [--record]

Each release that the registry has from ``--from`` on, and its newest nightly, gets a virtual environment of its own, and opens
each artefact in three ways: by the classic ``Interpreter``, by the package's ``CompiledModel``, and as edgekit itself does with
packed weights (`edge.runtime.compiled`). "bits" compares with the answers of the golden samples that travel with the artefact,
for the machine and the fast kernels that they were recorded with. "ms" is the processor time of a run over that of the pinned
release in the same way, both alive at once and asked in turns (the fastest run of each turn, the median of the turns) in
several pairs of fresh processes, as where memory happens to lie alone makes some per cent: the mean ratio of the pairs, with
its interval of 95 %. The pinned release has a row against itself. Memory is that of the process that answered the samples and
did nothing else. ``--record`` appends all to ``benchmarks/results/runtimes.json`` and writes the table that `edgekit doctor`
knows, ``devices/boards/runtimes.json``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import venv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from record import append

import edge
from devices.boards import wheels
from edge.numbers.statistics import mean_interval
from edge.runtime import golden

HERE = Path(__file__).parent
PACKAGE = "ai-edge-litert"
NIGHTLY = f"{PACKAGE}-nightly"
WAYS = ("Interpreter", "CompiledModel", "packed weights")
KNOWN = HERE.parent / "devices/boards/runtimes.json"
COMPILED = HERE.parent / "edge/runtime/compiled.py"


def main() -> int:
    """Measure all releases, print the tables, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefacts", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--from", dest="oldest", default="2.1", metavar="VERSION")
    parser.add_argument(
        "--only", metavar="VERSIONS", help="these alone, with commas between; --record then keeps the rows of the others"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5, help="of processes")
    parser.add_argument("--turns", type=int, default=6, help="of each pair")
    parser.add_argument("--runs", type=int, default=5, help="in each turn")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    pinned = next(pin.version for pin in wheels.pins() if pin.package == PACKAGE)
    releases = [(PACKAGE, version) for version in _versions(PACKAGE) if _key(version) >= _key(args.oldest)]
    releases += [(NIGHTLY, version) for version in _versions(NIGHTLY, pre=True)[-1:]]
    if args.only is not None:
        releases = [release for release in releases if release[1] in args.only.split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        reference = _environment(Path(folder), PACKAGE, pinned)
        for package, version in releases:
            python = reference if (package, version) == (PACKAGE, pinned) else _environment(Path(folder), package, version)
            for file in args.artefacts:
                for way in WAYS:
                    row = {"package": package, "version": version, "file": file.name, "way": way}
                    row |= _measure(file, way, python, reference, Path(folder), args)
                    rows.append(row)
                    print(_line(row), flush=True)
    if args.record:
        figures = {
            "pinned": pinned,
            "threads": args.threads,
            "pairs": args.pairs,
            "turns": args.turns,
            "runs": args.runs,
            "rows": rows,
        }
        append("runtimes", figures)
        about = {"date": date.today().isoformat(), "machine": platform.machine(), "pinned": pinned}
        known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() and args.only is not None else {"rows": []}
        anew = {row["version"] for row in rows}
        others = ({"date": known["date"], **row} for row in known["rows"] if row["version"] not in anew)
        rows = [*others, *({"date": about["date"], **row} for row in rows)]
        KNOWN.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def _versions(package: str, *, pre: bool = False) -> list[str]:
    """Return the versions that the registry has, the oldest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", package, *(["--pre"] if pre else [])]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    listed = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return sorted(listed[1].split(", "), key=_key) if listed else []


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _environment(folder: Path, package: str, version: str) -> Path | str:
    """Return the Python of a new environment with the runtime, or why there is none."""
    place = folder / f"{package}-{version}"
    venv.create(place, with_pip=False)
    python = place / "bin/python"
    wanted = [f"{package}=={version}", f"numpy=={np.__version__}"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"cannot be installed: {done.stderr.strip().splitlines()[-1]}" if done.returncode else python


class _Worker:
    """A process that has an artefact open."""

    def __init__(self, python: Path, way: str, file: Path, inputs: Path, cache: Path, threads: int) -> None:
        program = str(HERE / "runtimes_worker.py")
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would fill; closed with the process
        self._process = subprocess.Popen(
            [str(python), "-I", program, way, str(file), str(inputs), str(threads), str(cache), str(COMPILED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            errors="replace",
        )
        self.said = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # native code may print too
                return json.loads(line)
        code = self._process.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        return {"error": f"ended with code {code}: {' '.join(said[-1:])}"[:300]}

    def times(self, runs: int) -> list[int]:
        """Return the nanoseconds of so many runs."""
        assert self._process.stdin is not None
        print(runs, file=self._process.stdin, flush=True)
        found: list[int] = self._answer()
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()


def _measure(
    file: Path, way: str, python: Path | str, reference: Path | str, folder: Path, args: argparse.Namespace
) -> dict[str, Any]:
    nothing = {
        "loads": False,
        "bits": None,
        "ms": None,
        "ms_ratio": None,
        "ms_ratio_ci95": None,
        "peak_mib": None,
        "private_dirty_mib": None,
    }
    for one in (python, reference):
        if isinstance(one, str):
            return {**nothing, "error": one}
    assert isinstance(python, Path) and isinstance(reference, Path)
    inputs, expected = _samples(file, folder)
    caches = [folder / f"{name}-{way}-{file.name}.cache" for name in ("candidate", "reference")]
    with contextlib.ExitStack() as ended:
        if way == "packed weights":  # the process that makes the file is not the one that is measured
            for one, cache in zip((python, reference), caches, strict=True):
                _Worker(one, way, file, inputs, cache, args.threads).close()
                ended.callback(cache.unlink, missing_ok=True)
        found = [
            _pair(
                [(one, way, file, inputs, cache, args.threads) for one, cache in zip((python, reference), caches, strict=True)],
                args,
                begins=pair % 2,
            )
            for pair in range(args.pairs)
        ]
    said = found[0][0]
    if "error" in said:
        return {**nothing, "error": said["error"]}
    times = [time_ms for _, time_ms, _ in found if time_ms is not None]
    ratios = [ratio for _, _, ratio in found if ratio is not None]
    low, high = mean_interval(np.array(ratios))
    return {
        "loads": True,
        "bits": said["answers"] == expected if expected else None,
        "ms": round(statistics.median(times), 3) if times else None,
        "ms_ratio": round(statistics.mean(ratios), 3) if ratios else None,
        "ms_ratio_ci95": [round(low, 3), round(high, 3)] if len(ratios) > 1 else None,
        "peak_mib": round(said["peak_mib"], 1),
        "private_dirty_mib": round(said["private_dirty_mib"], 1),
        "error": None,
    }


def _pair(both: list[tuple[Any, ...]], args: argparse.Namespace, *, begins: int) -> tuple[Any, float | None, float | None]:
    """Return what a release said, its milliseconds, and the ratio to the pinned one's, of two fresh processes.

    begins: which of the two is started first; where its memory comes to lie makes some per cent.
    """
    with contextlib.ExitStack() as ended:
        started = {place: _Worker(*both[place]) for place in (begins, 1 - begins)}
        workers = [started[0], started[1]]
        for worker in workers:
            ended.callback(worker.close)
        if any("error" in worker.said for worker in workers):
            return workers[0].said, None, None
        times: list[list[float]] = [[], []]
        for turn in range(args.turns + 1):
            for place in (0, 1) if turn % 2 else (1, 0):
                spent = min(workers[place].times(args.runs)) / 1e6  # what else runs here makes some of them longer
                times[place] += [spent] if turn else []  # the first turn warms up
        mine, pinned = (statistics.median(each) for each in times)
        return workers[0].said, mine, mine / pinned


def _samples(file: Path, folder: Path) -> tuple[Path, dict[str, list[str]]]:
    """Return a file with the tensors of the golden samples, and their answers, recorded by the pinned release on such a machine."""
    model = edge.load(file, threads=1)
    arrays: dict[str, Any] = {}
    expected: dict[str, list[str]] = {}
    for sample in model.contract.golden:
        for position, tensor in enumerate(golden.inputs(sample.pattern, model.contract, model.inputs)):
            arrays[f"{sample.pattern}/{position}"] = tensor
        for one in sample.outputs:
            if (one.runtime, one.kernels, one.machine) == (PACKAGE, "optimized", platform.machine()):
                expected[sample.pattern] = [
                    base64.b64encode(golden.decode(one.values[spec.name], out.dtype, out.shape, str(file)).tobytes()).decode()
                    for spec, out in zip(model.contract.outputs, model.outputs, strict=True)
                ]
    path = folder / f"{file.name}.npz"
    np.savez(path, **arrays)
    return path, expected


def _line(row: dict[str, Any]) -> str:
    head = f"{row['package']} {row['version']}  {row['file']}  {row['way']}: "
    if not row["loads"]:
        return f"{head}does not run: {row['error']}"
    bits = {True: "same bits", False: "OTHER bits", None: "bits not compared"}[row["bits"]]
    ratio = "" if row["ms_ratio"] is None else f", {row['ms']:.2f} ms, x{row['ms_ratio']:.3f} {row['ms_ratio_ci95']}"
    return f"{head}{bits}{ratio}, private dirty {row['private_dirty_mib']:.0f} MiB, peak {row['peak_mib']:.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
