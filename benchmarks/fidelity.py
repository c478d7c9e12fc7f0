"""Which machines, runtimes and kernels give the same int8 bits: this machine, and emulated Raspberry Pis 3B+, 4B and 5.

    sudo python -m benchmarks.fidelity FILE.int8.tflite --images DIR [--limit 2] [--boards pi-5 ...] [--keep CELLS.json]

Deploys nothing: on each board it sets up the runtime's environment, takes a fingerprint (`edge.validation.fingerprint`: the raw outputs for
a few images, and the result of every op for one), and compares it with this machine's under every runtime and kernel set. Appends
the matrix to ``benchmarks/results/fidelity.json``. Emulated boards are made for it and removed again; slow (some 20 minutes). With
``--keep`` every cell is stored when it is done, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devices.boards.wheels import RUNTIMES
from devices.doctor import probe
from devices.errors import BoardRefusedError
from devices.measure import certificate, images
from devices.rollout import deploy, releases
from devices.transport.local import LocalShell
from devices.transport.session import Session
from devices.transport.shell import Shell
from devices.transport.ssh import SshShell
from devices.virtual import boards

try:
    import record
except ImportError:  # as a module from the repository's root
    from benchmarks import record

BOARDS = ("pi-3b-plus", "pi-4b", "pi-5")
ARMHF = "pi-3b-plus armhf"
KERNELS = ("optimized", "reference")
FOLDER = ".edgekit-fidelity"
_TIMEOUT_S = 3600.0


def main() -> int:
    """Fill the matrix, store it and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--boards", nargs="*", default=[*BOARDS, ARMHF])
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else {}
    for place in ("this machine", *args.boards):
        runtimes = ["tflite-runtime"] if place == ARMHF else RUNTIMES
        if all(f"{place} | {runtime} | {kernels}" in found for runtime in runtimes for kernels in KERNELS):
            continue
        with shell_of(place) as shell:
            for runtime in runtimes:
                for kernels in KERNELS:
                    if f"{place} | {runtime} | {kernels}" in found:
                        continue
                    start = time.monotonic()
                    try:
                        found[f"{place} | {runtime} | {kernels}"] = fingerprint(
                            shell, args.file, args.images, args.limit, runtime, kernels
                        )
                    except BoardRefusedError as error:
                        say(f"{place} | {runtime}: {error}")
                        break
                    say(f"{place} | {runtime} | {kernels}: {time.monotonic() - start:.0f} s")
                    if args.keep:
                        args.keep.write_text(json.dumps(found))
    groups, matrix = summary(found)
    record.append("fidelity", {"model": args.file.name, "images": args.limit, "groups": groups, "against_this_machine": matrix})
    print(json.dumps({"groups": groups, "against_this_machine": matrix}, indent=1))
    return 0


@contextmanager
def shell_of(place: str) -> Iterator[Shell]:
    """Give out a shell to this machine, or to an emulated board that exists for as long."""
    if place == "this machine":
        try:
            yield LocalShell()
        finally:
            releases.undeploy(LocalShell(), folder=FOLDER)
        return
    board, _, arch = place.partition(" ")
    name = f"fidelity-{board}{'-armhf' if arch else ''}"
    if name in [known.name for known in boards.every()]:  # of a run that was ended
        boards.stop(name)
        boards.remove(name)
    boards.create(name, board=board, arch=arch or "arm64", report=say)
    boards.start(name)
    shell = SshShell(boards.target(name))
    try:
        yield shell
    finally:
        shell.close()
        boards.stop(name)
        boards.remove(name)


def fingerprint(shell: Shell, file: Path, folder: Path, limit: int, runtime: str, kernels: str) -> dict[str, Any]:
    """Return the fingerprint of ``file`` there."""
    shell.connect()
    options = deploy.Options(folder=FOLDER, runtime=runtime)
    with Session(shell, folder=options.folder) as session:
        free = int(session.ask("state")["free_bytes"])
        environment = deploy.install(session, probe.ask(shell), options, say, free_bytes=free, artefact=file)
        model = session.upload(file, deploy.check_artefact(file), where="cache", suffix=".tflite")
        there = images.send(session, images.listed(folder, limit), say)
        args = ["-m", "edge.commands.fingerprint", model, "--images", there, "--ops", "--kernels", kernels]
        answer = session.ask(
            "run", key=environment.key, args=args, run_timeout_s=_TIMEOUT_S, timeout_s=_TIMEOUT_S + 60, limit_bytes=16 << 20
        )
    if answer["returncode"] != 0:
        raise BoardRefusedError(str(answer["stderr"])[-300:])
    data: dict[str, Any] = json.loads(answer["stdout"])
    return data


def summary(found: dict[str, dict[str, Any]]) -> tuple[list[list[str]], dict[str, str]]:
    """Return the cells in groups of equal bits (all outputs and all ops), and each ARM cell against this machine's same cell."""
    groups: dict[str, list[str]] = {}
    for name, data in found.items():
        bits = [[image["outputs"][output]["sha256"] for output in image["outputs"]] for image in data["images"]]
        groups.setdefault(json.dumps([bits, [op["sha256"] for op in data["ops"]]]), []).append(name)
    matrix = {}
    for name, data in found.items():
        place, runtime, kernels = name.split(" | ")
        mine = found[f"this machine | {runtime} | {kernels}"]
        compared = certificate.compare(mine, data, where=place)
        matrix[name] = (
            f"{compared.equal} of {compared.images} images, {compared.ops_equal} of {compared.ops} ops equal"
            f"{'' if compared.bit_equal else f', outputs at most {compared.steps} steps apart'}"
        )
    return list(groups.values()), matrix


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
