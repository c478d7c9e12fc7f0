"""What happens to one image in a validation: read, hash, decode once, run candidate and reference, keep a small record.

The record has a fixed size, so that any number of them fits a file (`edge.validation.journal`) and memory does not grow with the dataset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import InputSpec
from ..data.dataset import ImageItem, LabelledImages
from ..errors import ContractError, DatasetError, ImageError, UsageError
from ..runtime import preprocess
from ..runtime.extra_inputs import Columns, identity
from ..runtime.interpreter import MOST_THREADS, RuntimeInfo
from ..runtime.loading import twin
from ..runtime.model import Feed, Model
from ..runtime.pool import Pool, cores, default_workers
from .pairing import PathOrModel, Reference, pair_outputs
from .reference import SUFFIX, ReferenceOutputs

Raw = dict[str, NDArray[Any]]
Values = dict[str, NDArray[np.float32]]

READ, UNREADABLE = 0, 1
BUILT_IN_DELEGATES = ("xnnpack", "none")
CANDIDATE_NOT_FINITE, REFERENCE_NOT_FINITE = 1, 2

# Memory of an interpreter beside the mapped file: XNNPACK's own copy of the weights, and the tensors between the layers.
_COPIES, _ARENA_BYTES = 1.5, 32 << 20
_CHUNK, _CHUNK_BYTES = 16, 8 << 20  # images decoded in a row by one thread, and their tensors' bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """One candidate and one reference in interpreters of their own, for one thread at a time."""

    candidate: Model
    reference: Model | None


class Comparison:
    """Candidate and reference side by side. `records` may be called by several threads at once."""

    def __init__(
        self,
        candidate: Model,
        reference: Reference | None,
        *,
        workers: int,
        threads: int,
        dataset: LabelledImages | None = None,
    ) -> None:
        """Open the interpreters. dataset: where the inputs beside the picture are, for models that have them."""
        self.candidate = candidate
        self.reference = reference
        self.outputs = pair_outputs(candidate, reference)
        self.dtype = np.dtype(
            [("sha256", "u1", (32,)), ("status", "u1"), ("not_finite", "u1")]
            + [(f"output{i}", output.scorer.dtype) for i, output in enumerate(self.outputs)]
        )
        self._spec = candidate.contract.input
        self._columns = None if dataset is None else Columns.find(dataset, candidate.contract)
        self._table = preprocess.lookup_table(self._spec, candidate.input if self._spec.frames else None)
        self._reference_table: NDArray[Any] | None = None
        self._reference_spec: InputSpec | None = None  # only where the picture must be decoded once more for it
        if isinstance(reference, Model):
            spec = reference.contract.input
            _check_alike(candidate, reference)
            self._reference_table = preprocess.lookup_table(spec, reference.input if spec.frames else None)
            self._reference_spec = None if _geometry(spec) == _geometry(self._spec) else spec
        self.pool = Pool(self._pair(threads, first=i == 0) for i in range(workers))

    def records(self, items: Sequence[ImageItem]) -> NDArray[Any]:
        """Return the records of some images (len(items),). An image that cannot be read is recorded as such.

        Several at a time (see `chunk_sizes`): a run through the network empties the processor's caches, and everything else right
        after it takes several times as long. Raises DatasetError if stored reference outputs do not know an image.
        """
        records = np.zeros(len(items), self.dtype)
        tensors: dict[int, Feed] = {}
        befores: dict[int, Feed] = {}
        for i, item in enumerate(items):
            try:
                data = item.read() if self._spec.frames else b""
                records[i]["sha256"] = np.frombuffer(bytes.fromhex(identity(data, item, self._columns)), np.uint8)
                pixels = preprocess.load_pixels(data, self._spec) if self._spec.frames else None
                if self._reference_table is not None and isinstance(self.reference, Model):
                    before = None if pixels is None else preprocess.to_tensor(self._again(data, pixels), self._reference_table)
                    befores[i] = self._with_extra(before, item, self.reference)
                picture = None if pixels is None else preprocess.to_tensor(pixels, self._table)
                tensors[i] = self._with_extra(picture, item, self.candidate)
            except (OSError, ImageError):
                records[i]["status"] = UNREADABLE
        raw, raw_before = self.pool.use(lambda pair: _run(pair, tensors, befores))
        for i in tensors:
            self._measure(records[i], items[i], raw[i], raw_before.get(i))
        return records

    def chunk_sizes(self, count: int) -> Iterator[int]:
        """Yield how many images to give to `records` at a time, ``count`` in all; fewer towards the end, so no core waits."""
        bytes_each = sum(table.dtype.itemsize for table in (self._table, self._reference_table) if table is not None)
        bytes_each *= self._spec.height * self._spec.width * max(1, self._spec.channels)
        most = max(1, min(_CHUNK, _CHUNK_BYTES // bytes_each))
        while count > 0:
            size = max(1, min(most, count // (2 * self.pool.size)))
            yield size
            count -= size

    @property
    def runtime(self) -> RuntimeInfo:
        """What runs the candidate in each worker."""
        return self.pool.use(lambda pair: pair.candidate.runtime)

    def answer(self, tensor: Feed) -> Values:
        """Return the candidate's real values for an input tensor, by output name."""
        return self.candidate.dequantize(self.pool.use(lambda pair: pair.candidate.invoke(tensor)))

    def why_unreadable(self, item: ImageItem) -> str:
        """Return why the image could not be read, in words."""
        try:
            preprocess.load_pixels(item.frames or item.path, self._spec)
        except ImageError as error:
            return str(error)
        return f"{item.path}: could not be read before, and can be read now"

    def _with_extra(self, picture: NDArray[Any] | None, item: ImageItem, model: Model) -> Feed:
        if self._columns is None:
            assert picture is not None
            return picture
        image = () if picture is None else (picture,)
        return (*image, *self._columns.tensors(item, model.inputs[len(image) :]))

    def _again(self, data: bytes | list[bytes], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the reference's pixels: the candidate's, or decoded once more in another geometry."""
        return pixels if self._reference_spec is None else preprocess.load_pixels(data, self._reference_spec)

    def _measure(self, record: Any, item: ImageItem, raw: Raw, raw_before: Raw | None) -> None:
        found = self.candidate.dequantize(raw)
        expected = self._expected(item, bytes(record["sha256"]).hex(), raw_before)
        record["not_finite"] = _not_finite(found) * CANDIDATE_NOT_FINITE + _not_finite(expected or {}) * REFERENCE_NOT_FINITE
        for i, output in enumerate(self.outputs):
            other = expected[output.reference_name] if expected is not None and output.reference_name is not None else None
            record[f"output{i}"] = output.scorer.measure(found[output.spec.name], other)

    def _expected(self, item: ImageItem, sha256: str, raw: Raw | None) -> Values | None:
        if isinstance(self.reference, ReferenceOutputs):
            values = self.reference.get(sha256)
            if values is None:
                raise DatasetError(
                    f"{self.reference.path}: no stored outputs for image {item.id}; they were made from other images:"
                    " make them again with quantize.reference_outputs"
                )
            return values
        return None if raw is None or self.reference is None else self.reference.dequantize(raw)

    def _pair(self, threads: int, *, first: bool) -> Pair:
        reference = _twin(self.reference, threads, first=first) if isinstance(self.reference, Model) else None
        return Pair(candidate=_twin(self.candidate, threads, first=first), reference=reference)


def share_cores(workers: int | None, threads: int | None, *models: PathOrModel | ReferenceOutputs | None) -> tuple[int, int]:
    """Return (workers, threads of each) for a validation of ``models`` (paths or loaded ones); what is given stays.

    One single-threaded worker per core, fewer where the free memory would not hold that many interpreters.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and not 1 <= value <= MOST_THREADS:
            raise UsageError(f"{name} is {value}, expected 1 to {MOST_THREADS}")
    if workers is None:
        artefacts = [
            m.path if isinstance(m, Model) else Path(m) for m in models if m is not None and not isinstance(m, ReferenceOutputs)
        ]
        sizes = [path.stat().st_size for path in artefacts if path.suffix != SUFFIX and path.is_file()]
        workers = default_workers(sum(int(size * _COPIES) + _ARENA_BYTES for size in sizes))
        workers = workers if threads is None else max(1, min(workers, cores() // threads))
        return workers, threads or 1
    return workers, threads or max(1, cores() // workers)


def _twin(model: Model, threads: int, *, first: bool) -> Model:
    """Return the same model in another interpreter; the model itself where that serves, or an accelerator has it."""
    if model.runtime.delegate not in BUILT_IN_DELEGATES or (first and model.runtime.threads == threads):
        return model
    return twin(model, threads)


def _check_alike(candidate: Model, reference: Model) -> None:
    """Raise ContractError for models that cannot be fed with the same rows."""
    mine, theirs = (
        (model.contract.input.frames, {e.name: e.shape for e in model.contract.extra_inputs}) for model in (candidate, reference)
    )
    if mine != theirs:
        raise ContractError(
            f"{candidate.path} takes {mine[0]} frames and {sorted(mine[1])}, the reference {theirs[0]} and {sorted(theirs[1])};"
            " compare models that are fed with the same"
        )


def _run(pair: Pair, tensors: dict[int, Feed], befores: dict[int, Feed]) -> tuple[dict[int, Raw], dict[int, Raw]]:
    found = {i: pair.candidate.invoke(tensor) for i, tensor in tensors.items()}
    if pair.reference is None:
        return found, {}
    return found, {i: pair.reference.invoke(befores[i]) for i in tensors}


def _geometry(spec: InputSpec) -> InputSpec:
    """Return ``spec`` without what comes after the pixels: equal for inputs that share the decoded picture."""
    return dataclasses.replace(spec, mean=(0.0,) * spec.frame_channels, scale=(1.0,) * spec.frame_channels)


def _not_finite(values: Values) -> bool:
    return not all(np.all(np.isfinite(array)) for array in values.values())
