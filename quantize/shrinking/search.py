"""The search for a cut that meets the budget: which blocks, which channels, which input size, each tried as a real int8 file.

For each depth several ways are built and repaired: blocks alone, and blocks with more and more of the work left to the channels. The one
whose float network answers most like the original on photos that choose, and do not train, becomes a file, whose time and answers
are measured. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import UsageError
from edge.files import atomic_write_text
from edge.progress import stage

from ..loading.source import Source
from . import cost, networks, pictures, surgery
from .config import ShrinkConfig
from .distil import Look
from .making import Candidate, Workshop, cut_from_dict, cut_to_dict
from .ranking import Gates, Removal, rank, saliencies
from .structure import Structure, look
from .surgery import Cut

SHARES = (1.0, 0.6, 0.3)
"""Of the milliseconds that have to go, how many go with blocks; channels give the rest."""

LADDER = (1.3, 1.6, 2.0, 2.5, 3.0, 4.0)
"""Speedups that are tried in turn where none is asked for."""

RECOVERY = 5.0
"""How many times the budget of accuracy the answers may differ after the repair, where training follows.

InceptionResNetV2 at 96 x 96 lost 6.4 points without 24 of its 40 blocks, and 0.3 after 12 minutes of training: this leaves room.
"""

SEARCH_SHARE = 0.35
"""Of the minutes that the search may take before it stops looking for better ways of the same depth."""

LEAST_TRAINING = 0.3
"""Of the minutes: a search that takes longer than planned does not eat the training."""

_TOLERANCE = 0.99  # of the speedup asked for: what two measurements of one file differ by
_SALIENCY_BATCH = 8
_TRIES = 3
FILE = "search.json"


class Search:
    """One search. ``candidates``: all that were measured, in the order of the trial. What is known is kept in ``folder``."""

    def __init__(self, workshop: Workshop, config: ShrinkConfig, folder: Path, settings: dict[str, Any], law: cost.Law) -> None:
        self.workshop, self.config = workshop, config
        self.source: Source = workshop.source
        self._path, self._settings = folder / FILE, settings
        known = _known(self._path, settings)
        self.candidates = [Candidate.from_dict(each) for each in known.get("candidates", [])]
        self._removals = [Removal(**each) for each in known.get("ranking", [])]
        self._floats: dict[str, Any] = known.get("ways", {})
        self._training: float | None = known.get("training_seconds")
        self._before = float(known.get("seconds", 0.0))
        self._started = time.monotonic()
        self.structure: Structure = look(self.source.model)
        workshop.ms = known.get("ms", workshop.ms)
        self._costs: dict[tuple[int, int] | None, dict[str, cost.LayerCost]] = {None: cost.layers(self.source.model)}
        self.law = law.scaled(workshop.ms / cost.total(self._costs[None], law))
        self._networks: dict[str, Source] = {}

    @property
    def seconds(self) -> float:
        """What the search took so far, before an interruption too."""
        return self._before + time.monotonic() - self._started

    def training_seconds(self) -> float:
        """Return how long the chosen network is trained: what the search leaves of the minutes, less what making the last file takes.

        Settled once, so that a resumed run goes on with the same schedule.
        """
        if self._training is None:
            whole = 60 * self.config.minutes
            self._training = max(LEAST_TRAINING * whole, whole - self.seconds - self.workshop.file_seconds)
            self._save()
        return self._training

    def find(self) -> Candidate:
        """Return the candidate to train. Raises UsageError where the budget is out of reach."""
        wanted = self.config.speedup
        if self.config.max_ms is not None:
            wanted = self.workshop.ms / self.config.max_ms
            if wanted <= 1.0:
                raise UsageError(
                    f"{self.source.name} takes {self.workshop.ms:.4g} ms in int8 on {self.law.where} already, which is within max_ms"
                    f" {self.config.max_ms:g}: use edgekit quantize"
                )
        chosen = self._ladder() if wanted is None else self._to(wanted)
        self._save()
        return chosen

    def network(self, candidate: Candidate) -> Source:
        """Return the repaired network of a candidate."""
        return self._network_of(candidate.cut)

    def _to(self, wanted: float) -> Candidate:
        """Return the best way to a speedup, by the measured time of its file."""
        aim, reached = wanted, 0.0
        for number in range(_TRIES):
            try:
                tried = self._candidate(aim, wanted)
            except UsageError:
                if number == 0:
                    raise
                break  # by the law nothing is as fast as the files that were slower than the law would have to be
            if tried.speedup >= _TOLERANCE * wanted:
                return tried
            reached = max(reached, tried.speedup)
            aim *= wanted / tried.speedup * 1.01
        raise self._out_of_reach(wanted, reached)

    def _ladder(self) -> Candidate:
        """Return the fastest whose answers, after the repair alone, are so near that training is expected to bring them into budget."""
        chosen: Candidate | None = None
        for step in LADDER:
            if chosen is not None and self.seconds > 60 * self.config.minutes * SEARCH_SHARE:
                break
            try:
                tried = self._candidate(step, step)
            except UsageError:
                if chosen is None:
                    raise
                break
            if not self._bearable(tried):
                if chosen is None:
                    chosen = tried
                break
            chosen = tried
        assert chosen is not None
        return chosen

    def _bearable(self, candidate: Candidate) -> bool:
        allowed = self.config.max_drop * (RECOVERY if self.config.training else 1.0)
        agreement = candidate.int8.agreement
        if agreement is not None:
            return 1.0 - agreement <= allowed
        spread = max(self.workshop.judge.spreads.values(), default=1.0)
        return candidate.int8.error * spread <= allowed

    def _candidate(self, aim: float, wanted: float) -> Candidate:
        """Return the best way to an aimed-at speedup, measured; what was measured before is not measured again."""
        ways = self._ways(aim)
        cut, found = min(ways, key=lambda way: way[1].divergence)
        known = next((each for each in self.candidates if _name(each.cut) == _name(cut)), None)
        if known is not None:
            return known
        name = title(cut, self.structure)
        alike = sum(each.name.partition(" (")[0] == name for each in self.candidates)
        measured = self.workshop.measured(f"{name} ({alike + 1})" if alike else name, cut, wanted, self._network_of(cut), found)
        self.candidates.append(measured)
        self._save()
        return measured

    def _network_of(self, cut: Cut) -> Source:
        name = _name(cut)
        if name not in self._networks:
            self._networks = {name: self.workshop.network(cut)}
        return self._networks[name]

    def _ways(self, aim: float) -> list[tuple[Cut, Look]]:
        """Return ways to a speedup, by the law, each with how its repaired float network answers. Raises UsageError where there is none."""
        key = f"{aim:.4f}"
        stored = self._floats.get(key)
        if stored is not None:
            return [(cut_from_dict(each["cut"]), Look(**each["look"])) for each in stored]
        found: list[tuple[Cut, Look]] = []
        names: set[str] = set()
        target = self.workshop.ms / aim
        for size in (None, *self._sizes()):
            for share in SHARES:
                if found and self.seconds > 60 * self.config.minutes * SEARCH_SHARE:
                    break
                cut = self._cut(target, share, size)
                if cut is None or _name(cut) in names:
                    continue
                names.add(_name(cut))
                with stage(f"{aim:.2f}x: {title(cut, self.structure)}"):
                    shrunk = self._network_of(cut)
                    found.append((cut, self.workshop.look(shrunk)))
        if not found:
            raise self._out_of_reach(aim, self._deepest())
        self._floats[key] = [{"cut": cut_to_dict(cut), "look": seen.to_dict()} for cut, seen in found]
        self._save()
        return found

    def _sizes(self) -> list[tuple[int, int]]:
        height, width, _ = self.source.input_shape
        return [(size, round(size * width / height)) for size in self.config.input_sizes if size < height]

    def _cut(self, target_ms: float, share: float, size: tuple[int, int] | None) -> Cut | None:
        """Return a cut that leaves ``target_ms`` by the law, with ``share`` of what goes in blocks; None where that cannot be."""
        costs = self._costs_at(size)
        need = cost.total(costs, self.law) - target_ms
        if need <= 0:
            return Cut(blocks=frozenset(), kept={}, size=size) if size is not None else None
        ms = cost.block_ms(self.structure.blocks, costs, self.law)
        blocks: list[str] = []
        saved = 0.0
        for removal in self.ranking():
            if saved >= share * need:
                break
            blocks.append(removal.block)
            saved += ms[removal.block]
        gone = frozenset(blocks)
        if saved >= need:
            return Cut(blocks=gone, kept={}, size=size)
        return self._narrowed(gone, need - saved, size)

    def _narrowed(self, gone: frozenset[str], need: float, size: tuple[int, int] | None) -> Cut | None:
        inside = {name for block in self.structure.blocks if block.name in gone for name in block.inside}
        groups = [group for group in self.structure.channels if group.name not in inside]
        if not groups:
            return None
        base = networks.with_model(self.source, surgery.apply(self.source.model, Cut(blocks=gone, kept={}, size=size)))
        photos = self.workshop.parts.learning.subset(self.config.images)
        batches = pictures.batches(photos, base.contract, min(_SALIENCY_BATCH, self.config.batch(*base.input_shape[:2])))
        known = saliencies(base, groups, self.workshop.judge, batches, seed=self.config.seed)
        widths = cost.Widths(groups, known, cost.layers(base.model), self.law)
        return Cut(blocks=gone, kept=widths.kept(), size=size) if widths.save(need) else None

    def ranking(self) -> Sequence[Removal]:
        """Return the blocks in the order in which they go, ranked once."""
        names = [block.name for block in self.structure.blocks]
        if len(self._removals) < len(names):
            photos = self.workshop.parts.learning.subset(self.config.images)
            batches = pictures.batches(photos, self.source.contract, _SALIENCY_BATCH)
            network = surgery.gated(self.source.model, self.structure)
            gates = Gates(self.source, network, self.structure, self.workshop.judge, batches)

            seconds = 60 * self.config.minutes * SEARCH_SHARE / 2
            gates.keep_within(seconds / 2)

            def keep(removals: Sequence[Removal]) -> None:
                self._removals = list(removals)
                self._save()

            self._removals = rank(
                names,
                gates.damage,
                cost.block_ms(self.structure.blocks, self._costs_at(None), self.law),
                known=self._removals,
                keep=keep,
                until_ms=cost.total(self._costs_at(None), self.law) - self.workshop.ms / self._deepest_wanted(),
                seconds=seconds,
            )
            self._save()
        return self._removals

    def _deepest_wanted(self) -> float:
        """Return the speedup up to which the ranking has to be right, with some room for files that are slower than the law says."""
        if self.config.max_ms is not None:
            return 1.3 * self.workshop.ms / self.config.max_ms
        return LADDER[-1] if self.config.speedup is None else 1.3 * self.config.speedup

    def _costs_at(self, size: tuple[int, int] | None) -> dict[str, cost.LayerCost]:
        if size not in self._costs:
            smaller = surgery.apply(self.source.model, Cut(blocks=frozenset(), kept={}, size=size))
            self._costs[size] = cost.layers(smaller)
        return self._costs[size]

    def _deepest(self) -> float:
        """Return the speedup, by the law, of all that can go, at the smallest input."""
        best = 1.0
        for size in (None, *self._sizes()):
            costs = self._costs_at(size)
            ms = cost.block_ms(self.structure.blocks, costs, self.law)
            inside = {name for block in self.structure.blocks for name in block.inside}
            groups = [group for group in self.structure.channels if group.name not in inside]
            widths = cost.Widths(groups, {g.name: np.zeros(g.count) for g in groups}, costs, self.law)
            widths.save(float("inf"))
            left = cost.total(costs, self.law) - sum(ms.values()) - widths.saved_ms
            best = max(best, self.workshop.ms / max(left, 1e-9))
        return best

    def _out_of_reach(self, wanted: float, nearest: float) -> UsageError:
        sizes = f" at {min(self.config.input_sizes)} pixels" if self._sizes() else ""
        advice = "" if self._sizes() else ", or add smaller --input-sizes"
        if self.config.max_ms is not None:
            return UsageError(
                f"{self.source.name}: {self.config.max_ms:g} ms on {self.law.where} are out of reach: without all"
                f" {len(self.structure.blocks)} blocks{sizes} and with a quarter of the channels left it takes about"
                f" {self.workshop.ms / nearest:.3g} ms; ask for that{advice}"
            )
        return UsageError(
            f"{self.source.name}: {wanted:.3g} times faster is out of reach: without all {len(self.structure.blocks)} blocks{sizes} and"
            f" with a quarter of the channels left it is about {nearest:.2g} times; ask for that{advice}"
        )

    def _save(self) -> None:
        plain = {
            "settings": self._settings,
            "seconds": self.seconds,
            "ms": self.workshop.ms,
            "training_seconds": self._training,
            "ranking": [removal.to_dict() for removal in self._removals],
            "ways": self._floats,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }
        atomic_write_text(self._path, json.dumps(plain, indent=1) + "\n")


def title(cut: Cut, structure: Structure) -> str:
    """Return a cut in some words."""
    counts = {group.name: group.count for group in structure.channels}
    channels = sum(counts[name] - len(kept) for name, kept in cut.kept.items())
    words = [f"without {len(cut.blocks)} of {len(structure.blocks)} blocks"] if cut.blocks else []
    words += [f"without {channels} channels"] if channels else []
    words += [f"at {cut.size[1]}x{cut.size[0]} pixels"] if cut.size else []
    return ", ".join(words) or "as it is"


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in milliseconds, bytes and likeness together, fastest first."""

    def beats(one: Candidate, other: Candidate) -> bool:
        pairs = [(one.ms, other.ms), (one.bytes, other.bytes), (one.int8.error, other.int8.error)]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return sorted((c for c in candidates if not any(beats(o, c) for o in candidates)), key=lambda c: c.ms)


def _name(cut: Cut) -> str:
    return json.dumps(cut_to_dict(cut), sort_keys=True)


def _known(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what an interrupted search of the same settings left, or nothing."""
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return known if isinstance(known, dict) and known.get("settings") == settings else {}
