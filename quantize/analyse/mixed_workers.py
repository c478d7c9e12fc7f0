"""Files of mixed precision made and run, on all cores: TensorFlow's quantizer holds Python's lock, so threads would wait for it.

Each worker is a process of its own that keeps the network and the images (`edge.system.child`).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, OutputError
from edge.runtime.pool import Pool, default_workers
from edge.system.child import Child, ChildDiedError, Message, answer_requests

from ..calibrate import activations, output_error
from ..calibrate.output_error import Floats, Outputs
from ..errors import ConversionError
from ..tflite import conversion
from ..tflite.answers import Answer

_TENSORFLOW_BYTES = 700 << 20  # of a process that has loaded it
_COPIES = 7  # of the float flatbuffer that a process holds while it quantizes (56 million parameters: 2.0 GB at most in all)
_FEWEST = 8  # files from which starting processes (some seconds each) pays


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What every file is made from and measured on.

    ``calibrated``: float flatbuffer with ranges. ``reference``: the float network's outputs on ``tensors``. ``compared``: how each
    output is compared, by its name (see ``output_error.kinds``).
    """

    calibrated: bytes
    per_channel: bool
    tensors: Sequence[NDArray[np.float32]]
    reference: Outputs
    compared: Mapping[str, str]

    def measure(self, in_float: Sequence[str], *, workers: int | None = None) -> tuple[Floats, bytes]:
        """Return the error of each image, and the file, with the ops that compute the tensors ``in_float`` left in float."""
        made = conversion.quantize_int8(self.calibrated, io="float32", per_channel=self.per_channel, in_float=in_float)
        answers = activations.run(made, self.tensors, workers=workers)
        return output_error.per_image(self.reference, answers, self.compared), made


class Workers:
    """As many processes as cores and memory allow, none where only a few files are wanted; ``size`` files are made at once.

    with Workers(work, files=50) as workers:
        errors, made = workers.measure(["a tensor"])    # from any thread
    """

    def __init__(self, work: Work, *, files: int, size: int | None = None) -> None:
        self._work = work
        allowed = default_workers(_TENSORFLOW_BYTES + _COPIES * len(work.calibrated)) if files >= _FEWEST else 1
        self.size = allowed if size is None else size
        self._folder: Path | None = None
        self._processes: list[Child] = []
        self._pool: Pool[Child] | None = None

    def __enter__(self) -> Workers:
        if self.size > 1:
            self._folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
            try:
                _write(self._folder, self._work)
            except OSError as error:  # NumPy's does not say that the disk is full
                self._close()
                raise OutputError(
                    f"{self._folder}: cannot be written ({error.strerror or error}); free some space there, or set TMPDIR"
                ) from error
            except BaseException:
                self._close()
                raise
            folder = str(self._folder)
            self._processes = [Child("quantize.analyse.mixed_workers", folder, keep_stderr=True) for _ in range(self.size)]
            self._pool = Pool(self._processes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def measure(self, in_float: Sequence[str]) -> tuple[Floats, bytes]:
        """As ``Work.measure``, in the first process that is free. Raises ConversionError."""
        if self._pool is None:
            return self._work.measure(in_float)
        return self._pool.use(lambda process: _ask(process, in_float))

    def _close(self) -> None:
        for process in self._processes:
            process.close()
        self._processes.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def serve(folder: str) -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""
    work = _read(Path(folder))

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        try:
            errors, made = work.measure(request["in_float"], workers=1)
        except EdgeError as error:
            return {"problem": str(error)}, []
        return {"errors": errors.tolist()}, [made]

    answer_requests(answer)


def _write(folder: Path, work: Work) -> None:
    (folder / "calibrated.tflite").write_bytes(work.calibrated)
    np.save(folder / "tensors.npy", np.concatenate(work.tensors))
    for number, name in enumerate(work.compared):  # a name may hold what no file's name may
        np.save(folder / f"output{number}.npy", np.array([row[name] for row in work.reference]))
    (folder / "work.json").write_text(json.dumps({"per_channel": work.per_channel, "compared": dict(work.compared)}))


def _read(folder: Path) -> Work:
    plain = json.loads((folder / "work.json").read_text())
    outputs = {name: np.load(folder / f"output{number}.npy") for number, name in enumerate(plain["compared"])}
    tensors = np.load(folder / "tensors.npy", mmap_mode="r")
    return Work(
        calibrated=(folder / "calibrated.tflite").read_bytes(),
        per_channel=plain["per_channel"],
        tensors=[tensors[i : i + 1] for i in range(len(tensors))],
        reference=[Answer({name: values[i] for name, values in outputs.items()}) for i in range(len(tensors))],
        compared=plain["compared"],
    )


def _ask(process: Child, in_float: Sequence[str]) -> tuple[Floats, bytes]:
    try:
        answer, made = process.ask({"in_float": list(in_float)})
    except ChildDiedError as died:
        raise ConversionError(
            f"a worker process ended ({died.how}) while it quantized (SIGKILL: too little memory; close other programs)"
        ) from died
    if "problem" in answer:
        raise ConversionError(answer["problem"])
    return np.array(answer["errors"], np.float64), made[0]
