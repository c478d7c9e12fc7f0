"""The representative dataset: which images set the ranges, chosen the same way every time, and looked through beforehand."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from devices.findings import ERROR, INFO, WARNING, Finding
from edge.artefact.contract import Contract, InputSpec, OutputSpec
from edge.data.dataset import ImageItem, LabelledImages, match_labels, shown
from edge.errors import DatasetError, ImageError
from edge.files import sha256_file
from edge.progress import Progress
from edge.runtime.extra_inputs import Columns, identity
from edge.runtime.model import Feed
from edge.runtime.preprocess import load_pixels, lookup_table, to_tensor
from edge.validation import targets
from edge.validation.findings import about_skipped

from ..errors import CalibrationError
from .input_statistics import judge, measure

if TYPE_CHECKING:
    from ..loading.source import Source

COUNT = 200
FEWEST, FEW = 10, 100
"""Below the first the ranges are those of single pictures; below the second they still move with each picture."""

_EXTREME = 50  # one representative image in 50 has one of the lowest targets of a number, one in 50 one of the highest

MAX_UNREADABLE = 0.01
CACHE_BYTES = 64 << 20
CACHED = 1000
"""Decoded pixels that are kept (200 pictures at 299x299 take 51 MiB), of so many pictures at most: small ones would fill the memory by
and by. Whatever is beyond is decoded again when it is needed."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RepresentativeDataset:
    """The chosen images, in a fixed order.

    ``identities``: (id, SHA-256 of the file) of each. ``findings``: what looking through them brought up (warnings and remarks;
    errors raise instead). ``spec``: the contract that they are preprocessed by.
    """

    items: tuple[ImageItem, ...]
    identities: tuple[tuple[str, str], ...]
    spec: InputSpec
    seed: int
    findings: tuple[Finding, ...] = ()
    _pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _columns: Columns | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        found = "".join(f", {finding.severity}: {finding.check}" for finding in self.findings)
        return f"<RepresentativeDataset of {len(self.items)} images for {self.spec.width}x{self.spec.height}{found}>"

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        count: int = COUNT,
        contract: Contract,
        seed: int = 0,
        validation: str | os.PathLike[str] | None = None,
        max_unreadable: float = MAX_UNREADABLE,
        strict: bool = True,
        follow_links: bool = False,
    ) -> RepresentativeDataset:
        """Choose ``count`` images of a folder (of class sub-folders, or flat) or a CSV manifest, and look through them.

        Classes keep their share, each has one image at least; of more classes than ``count`` the seed draws which. Of outputs
        that are numbers, the images with the lowest and the highest targets of a manifest are among them: a range that was never shown
        a sharp turn would cut it off. The choice depends on seed, file names and targets only.
        validation: images that must not be among them, compared by content. max_unreadable: share (0..1) of undecodable images
        above which to give up; up to it they are listed, and others take their place.
        strict: False turns errors into findings, as far as work can go on. follow_links: as of `LabelledImages.open`.

        Raises CalibrationError: too few images, too many unreadable ones, images of the validation set. DatasetError: no images.
        """
        if count < 1:
            raise CalibrationError(f"asked for {count} representative images, expected at least {FEWEST}")
        dataset, strata = _strata(path, follow_links=follow_links)
        columns = Columns.find(dataset, contract)
        chosen = _Choice(spec=contract.input, columns=columns)
        total = sum(map(len, strata.values()))
        asked, count = count, min(count, total)
        with Progress(count, "read representative images") as progress:
            first = _extremes(dataset, contract, count)
            for item in first:
                progress.advance(int(chosen.take(item)))
            extreme = {item.id for item in first}
            others = {name: [item for item in items if item.id not in extreme] for name, items in strata.items()}
            for name, quota in _quotas(others, count - len(chosen.items), seed).items():
                for item in _shuffled(others[name], seed):
                    if quota == 0:
                        break
                    if chosen.take(item):
                        quota -= 1
                        progress.advance()
            for item in _in_place_of_unreadable(chosen, others, count, seed):
                progress.advance(int(chosen.take(item)))
        findings = [*chosen.findings(path, max_unreadable), *_about_classes(strata, chosen.items, contract, path)]
        findings += [*about_skipped(dataset), *_about_count(len(chosen.items), total, asked, path)]
        if validation is not None:
            findings += _about_overlap(chosen, validation, follow_links=follow_links)
        _raise_errors(findings, strict=strict)
        order = sorted(range(len(chosen.items)), key=lambda i: chosen.items[i].id)
        return cls(
            items=tuple(chosen.items[i] for i in order),
            identities=tuple((chosen.items[i].id, chosen.hashes[i]) for i in order),
            spec=contract.input,
            seed=seed,
            findings=tuple(findings),
            _pixels=chosen.pixels,
            _columns=columns,
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        source: Source,
        count: int = COUNT,
        seed: int = 0,
        validation: str | os.PathLike[str] | None = None,
        max_unreadable: float = MAX_UNREADABLE,
        strict: bool = True,
        follow_links: bool = False,
    ) -> RepresentativeDataset:
        """Like ``from_folder``, and check the preprocessed images against what the network was trained on.

        Raises CalibrationError also when another pixel range or channel order fits the network far better.
        """
        dataset = cls.from_folder(
            path,
            count=count,
            contract=source.contract,
            seed=seed,
            validation=validation,
            max_unreadable=max_unreadable,
            strict=strict,
            follow_links=follow_links,
        )
        finding = judge(measure(source.model, dataset.sample(), dataset.spec))
        if finding is None:
            return dataset
        findings = [*dataset.findings, finding]
        _raise_errors(findings, strict=strict)
        return replace(dataset, findings=tuple(findings))

    def __len__(self) -> int:
        return len(self.items)

    def tensors(self) -> Iterator[Feed]:
        """Yield each image preprocessed by the contract: float32 ``(1, H, W, C)``, one at a time.

        Of a contract with extra inputs: a tuple of the image and each of them.
        """
        table = lookup_table(self.spec)
        for item in self.items:
            if self._columns is None:
                yield to_tensor(self._load(item), table)
            else:
                picture = (to_tensor(self._load(item), table),) if self.spec.frames else ()
                yield (*picture, *self._columns.tensors(item, (None,) * len(self._columns.inputs)))

    def sample(self, count: int = 32) -> list[NDArray[np.uint8]]:
        """Return the pixels, uint8 ``(H, W, C)``, of about ``count`` images at equal spacing; none where no pictures are taken."""
        if not self.spec.frames:
            return []
        return [self._load(item) for item in self.items[:: max(1, len(self.items) // count)][:count]]

    def _load(self, item: ImageItem) -> NDArray[np.uint8]:
        pixels = self._pixels.get(item.id)
        return load_pixels(item.frames or item.path, self.spec) if pixels is None else pixels


@dataclass(slots=True, kw_only=True)
class _Choice:
    """Images as they are taken: decoded once, hashed, those that cannot be decoded remembered with the reason."""

    spec: InputSpec
    columns: Columns | None = None
    items: list[ImageItem] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    _cached_bytes: int = 0

    def take(self, item: ImageItem) -> bool:
        """Read one image; return whether it can be used."""
        if not self.spec.frames:
            self.items.append(item)
            self.hashes.append(identity(b"", item, self.columns))
            self.sizes.append(0)
            return True
        try:
            data = item.read()
            pixels = load_pixels(data, self.spec)
        except OSError as error:
            self.unreadable[item.id] = str(error.strerror)
            return False
        except ImageError as error:
            self.unreadable[item.id] = str(error).removeprefix("image: ")
            return False
        self.items.append(item)
        self.hashes.append(identity(data, item, self.columns))
        self.sizes.append(len(data) if isinstance(data, bytes) else sum(map(len, data)))
        if len(self.pixels) < CACHED and self._cached_bytes + pixels.nbytes <= CACHE_BYTES:
            self._cached_bytes += pixels.nbytes
            self.pixels[item.id] = pixels
        return True

    def findings(self, path: str | os.PathLike[str], max_unreadable: float) -> Iterator[Finding]:
        """Yield what reading brought up: images that cannot be decoded, and those that are there twice."""
        if self.unreadable:
            share = len(self.unreadable) / (len(self.unreadable) + len(self.items))
            listed = shown([f"{name} ({reason})" for name, reason in self.unreadable.items()])
            if share > max_unreadable:
                limit = f"{share:.1%} of those tried, more than the {max_unreadable:.1%} allowed (edgekit quantize takes --max-unreadable)"
                yield Finding(check="unreadable", severity=ERROR, message=f"{path}: unreadable are {limit}: {listed}")
            else:
                message = f"{len(self.unreadable)} images cannot be read, others were taken instead: {listed}"
                yield Finding(check="unreadable", severity=WARNING, message=message)
        repeated = len(self.hashes) - len(set(self.hashes))
        if repeated:
            message = f"{repeated} of {len(self.hashes)} images have the same content as another one and add nothing"
            yield Finding(check="duplicates", severity=WARNING, message=message)


def _strata(path: str | os.PathLike[str], *, follow_links: bool) -> tuple[LabelledImages, dict[str, list[ImageItem]]]:
    """Return the images, and by class folder or label; one stratum without a name where there are none."""
    if Path(path).is_dir():
        dataset = LabelledImages.open(path, unlabelled=True, follow_links=follow_links)
        names = [item.id.split("/")[0] if "/" in item.id else "" for item in dataset]
    else:
        dataset = LabelledImages.open(path)
        names = [dataset.label_text(item) for item in dataset]
    strata: dict[str, list[ImageItem]] = {}
    for name, item in sorted(zip(names, dataset, strict=True), key=lambda pair: (pair[0], pair[1].id)):
        strata.setdefault(name, []).append(item)
    return dataset, strata


def _extremes(dataset: LabelledImages, contract: Contract, count: int) -> list[ImageItem]:
    """Return the images with the lowest and the highest targets of the numbers that a manifest has, a quarter of ``count`` at most."""
    each, found = count // _EXTREME, dict[int, ImageItem]()
    by_id: NDArray[np.intp] | None = None
    for output in contract.outputs:
        for column in _targets(dataset, output, only=len(contract.outputs) == 1).T:
            if by_id is None:
                by_id = np.array(sorted(range(len(dataset)), key=lambda i: dataset.items[i].id), np.intp)
            order = by_id[np.argsort(column[by_id], kind="stable")]
            chosen = [int(i) for i in (*order[:each], *order[len(order) - each :])]
            if len(found) + len(set(chosen) - found.keys()) <= count // 4:
                found |= {i: dataset.items[i] for i in chosen}
            if len(found) >= count // 4:
                return list(found.values())
    return list(found.values())


def _targets(dataset: LabelledImages, output: OutputSpec, *, only: bool) -> NDArray[np.float64]:
    """Return the numbers that an output is to give, (N, values); none where there are none, or where one is no number."""
    found = None
    if output.kind == "regression":
        size = sum(name.startswith(f"{output.name}[") for name in dataset.columns) or 1
        with contextlib.suppress(DatasetError):  # validation says what is wrong; a range needs no target
            found = targets.numbers(dataset, output, size, only=only)
    return np.empty((len(dataset), 0)) if found is None else found


def _quotas(strata: Mapping[str, Sequence[ImageItem]], count: int, seed: int) -> dict[str, int]:
    """Return how many images to take of each stratum: its share by largest remainder, at least one, never more than it has.

    Of more strata than ``count`` the seed draws as many, one image each.
    """
    strata = {name: items for name, items in strata.items() if items}
    if len(strata) > count:
        drawn = sorted(strata, key=lambda name: _lot(seed, name))[: max(count, 0)]
        return dict.fromkeys(sorted(drawn), 1)
    total = sum(map(len, strata.values()))
    count = min(count, total)
    quotas = {name: min(len(items), max(1, count * len(items) // total)) for name, items in strata.items()}
    left = count - sum(quotas.values())
    for name in sorted(strata, key=lambda name: (-(count * len(strata[name]) % total), name)):
        if left > 0 and quotas[name] < len(strata[name]):
            quotas[name] += 1
            left -= 1
    # Small strata that were given one may leave too little for the others: the largest give back, of equals the last by name.
    largest = [(-quotas[name], -rank, name) for rank, name in enumerate(sorted(quotas))]
    heapq.heapify(largest)
    for _ in range(-left):
        taken, rank, name = largest[0]
        quotas[name] -= 1
        heapq.heapreplace(largest, (taken + 1, rank, name))
    return quotas


def _in_place_of_unreadable(
    chosen: _Choice, strata: Mapping[str, Sequence[ImageItem]], count: int, seed: int
) -> Iterator[ImageItem]:
    """Yield images of any stratum while some are missing because theirs had no other that can be read."""
    if len(chosen.items) >= count:
        return
    tried = chosen.unreadable.keys() | {item.id for item in chosen.items}
    for item in _shuffled([item for items in strata.values() for item in items if item.id not in tried], seed):
        if len(chosen.items) >= count:
            return
        yield item


def _shuffled(items: Sequence[ImageItem], seed: int) -> list[ImageItem]:
    # By hash rather than by a random generator: the same on every version of everything, and other images change nothing.
    return sorted(items, key=lambda item: _lot(seed, item.id))


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _about_count(chosen: int, total: int, count: int, path: str | os.PathLike[str]) -> Iterator[Finding]:
    if chosen < FEWEST:
        message = f"{path}: {chosen} representative images, expected {FEWEST} at least and {FEW} or more for steady ranges"
        yield Finding(check="few_images", severity=ERROR, message=message)
    elif chosen < FEW:
        message = f"{chosen} representative images; with fewer than {FEW} the ranges still depend on the choice"
        yield Finding(check="few_images", severity=WARNING, message=message)
    elif total < count:
        message = f"there are {total} images, {count} were asked for; all were taken"
        yield Finding(check="few_images", severity=INFO, message=message)


def _about_classes(
    strata: Mapping[str, Sequence[ImageItem]], chosen: Sequence[ImageItem], contract: Contract, path: str | os.PathLike[str]
) -> Iterator[Finding]:
    """Yield what is wrong with the classes of the chosen images: unknown to the model, or missing among them."""
    labels = next((output.labels for output in contract.outputs if output.is_classes and output.labels), ())
    names = [name for name in strata if name]
    if not names:
        return
    taken = {item.id for item in chosen}
    seen = {name for name in names if any(item.id in taken for item in strata[name])}
    try:
        _, index = match_labels(names, labels, where=str(path)) if labels else ((), {})
    except DatasetError:
        message = f"the folders or labels ({shown(names)}) are not the model's classes ({shown(labels)}); used for spreading only"
        yield Finding(check="classes", severity=INFO, message=message)
        labels, index = (), {}
    background = {output.background_index for output in contract.outputs}
    looked_at = {index[name] for name in seen if name in index}
    missing = [label for i, label in enumerate(labels) if i not in looked_at and i not in background]
    wanted: Sequence[str] = labels
    if not labels:
        missing, wanted = [name for name in names if name not in seen], names
    if missing:
        more = (
            f"; {len(names)} classes are there, --count {len(names)} or more (of qat: --representative) takes one of each"
            if len(seen) < len(names)
            else ""
        )
        message = (
            f"no image of {len(missing)} of {len(wanted)} classes among the {len(chosen)} chosen: {shown(missing)}; their activations"
            f" may exceed the ranges{more}"
        )
        yield Finding(check="classes_missing", severity=WARNING, message=message)


def _about_overlap(chosen: _Choice, validation: str | os.PathLike[str], *, follow_links: bool) -> Iterator[Finding]:
    held_out = LabelledImages.open(validation, unlabelled=True, follow_links=follow_links)
    sizes = set(chosen.sizes)
    # Only files of equal size can have equal content: the others need not be read.
    hashes = {sha256_file(i.path): i.id for i in held_out if i.path.is_file() and i.path.stat().st_size in sizes}
    pairs = [(item.id, hashes[sha]) for item, sha in zip(chosen.items, chosen.hashes, strict=True) if sha in hashes]
    both = [one if one == other else f"{one} = {other}" for one, other in pairs]
    if both:
        message = f"{len(both)} representative images are in the validation set {validation}: {shown(both)}; keep them apart"
        yield Finding(check="overlap", severity=ERROR, message=message)


def _raise_errors(findings: Sequence[Finding], *, strict: bool) -> None:
    errors = [finding.message for finding in findings if finding.severity == ERROR]
    if errors and strict:
        more = f" (and {len(errors) - 1} more: {'; '.join(errors[1:])})" if len(errors) > 1 else ""
        raise CalibrationError(f"{errors[0]}{more}")
