"""What stands on the page, section by section. A section without data is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from devices.origin import Origin

from ..history.record import Run, origin_of
from . import accuracy_charts, energy, network, network_charts, pareto, shrinking_charts, speed_charts, table, training_charts
from .chart import Chart, distinct
from .facts import Facts, Flip, Shrinking, Timing, Validation, basename
from .pictures import Pictures
from .verdict import Verdict, gains, points

_FLIPS = 24  # shown of each kind and validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``title`` is empty where the section's says it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An image that was lost or won (``side``)."""

    side: str
    image: str
    label: str
    reference: str
    candidate: str
    candidate_word: str
    picture: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipGroup:
    """Of one validation; ``more_lost`` and ``more_won`` count what is not shown. ``note``: what stands in an earlier group already."""

    name: str
    note: str
    lost: tuple[Card, ...]
    won: tuple[Card, ...]
    more_lost: int
    more_won: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One finding."""

    severity: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the few large numbers at the top."""

    label: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """``short`` is its name in the list of contents."""

    id: str
    short: str
    title: str
    text: str = ""
    charts: tuple[Chart, ...] = ()
    flips: tuple[FlipGroup, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[Note, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        return not (self.charts or self.flips or self.tables or self.notes)


def redacted(facts: Facts) -> Facts:
    """Return the facts without names of files, folders, images and targets, and without messages that may have some in them."""
    validations = tuple(
        replace(
            entry,
            origin=_nameless_origin(entry),
            dataset=None,
            lost=_nameless(entry.lost),
            won=_nameless(entry.won),
            findings=tuple((severity, "(the message is left out, it may name files)") for severity, _ in entry.findings),
        )
        for entry in facts.validations
    )
    runs = tuple(_nameless_run(run) for run in facts.runs)
    return replace(
        facts,
        runs=runs,
        variants=tuple(replace(variant, file="") for variant in facts.variants),
        validations=validations,
        trainings=tuple(replace(entry, name=f"training {i + 1}", reason="") for i, entry in enumerate(facts.trainings)),
        shrinkings=tuple(shrinking_charts.nameless(e, i, _nameless_origin(e)) for i, e in enumerate(facts.shrinkings)),
        left_out=tuple("a file" for _ in facts.left_out),
    )


def build(facts: Facts, verdict: Verdict, map_of: network.NetworkMap | None, pictures: Pictures | None) -> tuple[Section, ...]:
    """Return the sections that have something to say. pictures: None where none may be shown."""
    parts = (
        Section(
            id="variants",
            short="Variants",
            title="All variants",
            text="Accuracy against the reference on the same images; times as measured. All figures of a row were measured on one"
            " machine or board, which it names.",
            tables=tuple(_variants(facts)),
        ),
        Section(
            id="tradeoff",
            short="Trade-off",
            title="Size, accuracy and latency",
            text="Up and to the left is better; a larger dot is a larger file. Vertical bars: 95 % interval of the paired drop."
            " Horizontal bars: the fastest run to the 90th percentile, or the interval of a prediction (paler). Nothing beats the"
            " variants on the dashed line in latency, accuracy and size at once.",
            charts=tuple(pareto.pareto(facts)),
        ),
        Section(
            id="drop",
            short="Drop",
            title="What quantization cost",
            text="Both models saw the same images, so only those count that exactly one of them has right. The verdict comes from the"
            " interval: it passes where all of it lies left of the limit.",
            charts=_some(accuracy_charts.drops(facts)),
        ),
        Section(
            id="images",
            short="Images",
            title="Images lost and won",
            text="Look at what is lost: images that are hard for people are no loss to worry about.",
            flips=tuple(_flips(facts, pictures)),
        ),
        Section(
            id="classes",
            short="Classes",
            title="Class by class",
            text="In the matrices a row is a true class, a column an answer; framed cells differ between the two.",
            charts=(*_some(accuracy_charts.classes(facts)), *accuracy_charts.confusion(facts, verdict.candidate)),
        ),
        Section(id="outputs", short="Outputs", title="Other outputs", tables=tuple(_outputs(facts))),
        Section(
            id="latency",
            short="Latency",
            title="Latency",
            text="Each faint stroke is a percentile of the runs measured; the dot is the median.",
            charts=(*_some(speed_charts.latencies(facts)), *speed_charts.traces(facts)),
        ),
        Section(
            id="energy", short="Energy", title="Energy", text=energy.TEXT, tables=_some_table(energy.HEADERS, energy.rows(facts))
        ),
        Section(
            id="time",
            short="Time",
            title="Where the time goes",
            text=speed_charts.SPLIT_TEXT,
            charts=tuple(speed_charts.splits(facts)),
            tables=_some_table(speed_charts.SPLIT_HEADERS, speed_charts.split_rows(facts)),
        ),
        Section(
            id="boards",
            short="Boards",
            title="Boards, as predicted",
            text="From edgekit check: predictions with intervals, not measurements.",
            tables=_some_table(table.PREDICTED, tuple(table.predicted(facts))),
        ),
        Section(
            id="layers",
            short="Layers",
            title="Where the error comes from",
            text="SQNR compares each result with the float network's: 20 dB is an error of a tenth of the signal.",
            charts=tuple(_layers(facts)),
        ),
        Section(
            id="network",
            short="Network",
            title="The network",
            charts=() if map_of is None else (network_charts.network_map(map_of),),
        ),
        Section(
            id="training",
            short="Training",
            title="Quantization-aware training",
            text=" ".join(entry.reason for entry in facts.trainings),
            charts=tuple(chart for i, entry in enumerate(facts.trainings) for chart in training_charts.training(entry, i)),
        ),
        Section(
            id="shrinking",
            short="Shrinking",
            title="The smaller network",
            text=" ".join(entry.reason for entry in facts.shrinkings),
            charts=tuple(chart for i, entry in enumerate(facts.shrinkings) for chart in shrinking_charts.shrinking(entry, i)),
        ),
        Section(id="findings", short="Findings", title="Findings", notes=tuple(_notes(facts))),
        Section(
            id="provenance",
            short="Provenance",
            title="Where the figures come from",
            tables=tuple(_provenance(facts)),
        ),
    )
    return tuple(part for part in parts if not part.is_empty)


def figures(facts: Facts, verdict: Verdict) -> Iterator[Figure]:
    """Yield the few numbers of the candidate that stand at the top."""
    entry = next((e for e in facts.validations if e.variant == verdict.candidate and e.top1 is not None), None)
    variant = next((v for v in facts.variants if v.key == verdict.candidate), None)
    gained = None if entry is None else gains(facts, entry)
    if entry is not None and entry.top1 is not None:
        before = f"{entry.images:,} images" if entry.reference_top1 is None else f"{entry.reference_top1:.1%} in the reference"
        yield Figure(label="Top-1", value=f"{100 * entry.top1:.1f}", unit="%", note=f"{before}, {entry.origin}")
    if entry is not None and entry.drop is not None:
        drop = entry.drop
        note = f"95 % interval {points(drop.low)} to {points(drop.high)}, {entry.images:,} images"
        yield Figure(label="Drop", value=points(drop.top1), unit="points", note=note)
    if variant is not None and variant.size_bytes:
        smaller = None if gained is None else gained.smaller
        note = "" if smaller is None or smaller < 1 else f"{smaller:.1f} times smaller"
        yield Figure(label="Size", value=f"{variant.size_bytes / 2**20:.1f}", unit="MiB", note=note)
    mine = [timing for timing in facts.timings if timing.variant == verdict.candidate]
    timing = gained.timing if gained is not None and gained.timing is not None else min(mine, key=_p50_ms, default=None)
    if timing is not None:
        place = f"{timing.origin}{'' if timing.quotable else ' (not quotable)'}"
        faster = "" if gained is None or gained.faster is None else f"{gained.faster:.1f} times as fast, "
        yield Figure(label="Median time", value=f"{timing.p50_ms:.3g}", unit="ms", note=f"{faster}{place}")


def _p50_ms(timing: Timing) -> float:
    return timing.p50_ms


def _some(chart: Chart | None) -> tuple[Chart, ...]:
    return () if chart is None else (chart,)


def _nameless_run(run: Run) -> Run:
    # A board is told by its model; a target by user and host.
    known = run.report is not None and "board" in run.report
    return replace(
        run,
        arguments=(),
        artefacts=(),
        source=None,
        board=run.board if known or run.board is None else "a target",
        error="failed" if run.error else None,
        summary="" if run.command in ("qat", "tune") else run.summary,  # names the file to deploy
    )


def _nameless(flips: Sequence[Flip]) -> tuple[Flip, ...]:
    return tuple(replace(flip, image=f"image {number + 1}") for number, flip in enumerate(flips))


def _nameless_origin(entry: Validation | Shrinking) -> Origin:
    report = entry.run.report or {}
    return entry.origin if entry.run.board is None or "board" in report else replace(entry.origin, machine="a target")


def _variants(facts: Facts) -> Iterator[Table]:
    rows = []
    for row in table.rows(facts):
        entry = row.validation
        fewer = entry is not None and entry.images < max(e.images for e in facts.validations if e.reference == entry.reference)
        of = f" of {entry.images:,} images" if entry is not None and entry.top1 is not None and fewer else ""
        same = "-" if entry is None or entry.agreement is None else f"{entry.agreement:.2%}"
        where = "-" if row.origin is None else str(row.origin)
        if entry is not None:
            where += "".join(f"; same bits on {found.origin}, {found.images} images" for found in entry.holds_on)
        rows.append((row.variant.name, row.mib, where, f"{row.top1}{of}", row.drop, row.flips, same, row.ms, row.verdict))
    if rows:
        headers = (
            "variant",
            "MiB",
            "measured on",
            "top-1",
            "drop in points (95 %)",
            "lost / won",
            "same answer",
            "ms",
            "verdict",
        )
        yield Table(title="", headers=headers, rows=tuple(rows))


def _flips(facts: Facts, pictures: Pictures | None) -> Iterator[FlipGroup]:
    found = [entry for entry in facts.validations if entry.lost or entry.won]
    shown: dict[tuple[str, str | None], dict[Flip, str]] = {}  # of a variant and its images: by whom an answer was given first
    for name, entry in zip(distinct(facts, found), found, strict=True):
        word = facts.variant(entry.variant).name
        known = shown.setdefault((entry.variant, entry.run.dataset_sha256), {})
        unmargined = [replace(flip, margin=None) for flip in (*entry.lost, *entry.won)]
        again = {flip: known[flip] for flip in unmargined if flip in known}
        lost, won = ([flip for flip in side if replace(flip, margin=None) not in again] for side in (entry.lost, entry.won))
        known.update((flip, name) for flip in unmargined if flip not in known)

        def cards(side: str, flips: Sequence[Flip], entry: Validation = entry, word: str = word) -> tuple[Card, ...]:
            return tuple(
                Card(
                    side=side,
                    image=flip.image,
                    label=flip.label,
                    reference=flip.reference,
                    candidate=flip.candidate,
                    candidate_word=word,
                    picture=None if pictures is None else pictures.get(entry.dataset, flip.image, flip.sha256),
                )
                for flip in flips[:_FLIPS]
            )

        yield FlipGroup(
            name=f"{name}: {len(entry.lost)} lost, {len(entry.won)} won of {entry.images:,}",
            note=_told_already(again.values(), all_of_them=not lost and not won),
            lost=cards("lost", lost),
            won=cards("won", won),
            more_lost=max(0, len(lost) - _FLIPS),
            more_won=max(0, len(won) - _FLIPS),
        )


def _told_already(names: Iterable[str], *, all_of_them: bool) -> str:
    counts = Counter(names)
    said = " and ".join(f"{count} as of {name}" for name, count in counts.items())
    return (
        f"{'All answered as above' if all_of_them else 'Of them answered as above, and not shown again'}: {said}." if said else ""
    )


def _outputs(facts: Facts) -> Iterator[Table]:
    rows = []
    for name, entry in zip(distinct(facts, facts.validations), facts.validations, strict=True):
        for output, found in entry.outputs.items():
            if not isinstance(found, dict) or found.get("kind") in ("probabilities", "logits"):
                continue
            for metric in ("mae", "rmse", "r2"):
                sides = [found.get(side) for side in ("reference", "candidate")]
                values = [side.get(metric) if isinstance(side, dict) else None for side in sides]
                if any(value is not None for value in values):
                    rows.append((name, output, metric.upper(), *("-" if v is None else f"{v:.4g}" for v in values)))
            for metric in ("cosine", "sqnr_db", "agreement"):
                if isinstance(found.get(metric), int | float):
                    rows.append((name, output, metric.replace("_db", " in dB"), "-", f"{found[metric]:.4g}"))
    if rows:
        yield Table(title="", headers=("variant", "output", "measure", "reference", "candidate"), rows=tuple(rows))


def _some_table(headers: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> tuple[Table, ...]:
    return (Table(title="", headers=headers, rows=rows),) if rows else ()


def _layers(facts: Facts) -> Iterator[Chart]:
    for number, entry in enumerate(facts.explanations):
        yield from _some(accuracy_charts.ladder(entry, number))
        yield from _some(network_charts.op_errors(facts, entry, number))


def _notes(facts: Facts) -> Iterator[Note]:
    for name, entry in zip(distinct(facts, facts.validations), facts.validations, strict=True):
        for severity, message in entry.findings:
            yield Note(severity=severity, text=f"{name}: {message}")
    for run in facts.runs:
        if run.error:
            yield Note(severity="error", text=f"{run.label} ({run.command}): {run.error}")
    for reason in facts.left_out:
        yield Note(severity="warning", text=f"left out of this report: {reason}")


def _provenance(facts: Facts) -> Iterator[Table]:
    if facts.variants:
        rows = tuple((variant.name, basename(variant.file) or "-", variant.key) for variant in facts.variants)
        yield Table(title="Models", headers=("variant", "file", "SHA-256 of the flatbuffer"), rows=rows)
    headers = ("run", "command", "when (UTC)", "where", "versions", "images (SHA-256)", "result")
    runs = []
    for run in facts.runs:
        name = run.label if run.id is not None else basename(run.source or "") or "-"
        host = ", ".join(str(run.host[key]) for key in ("processor", "system") if run.host.get(key))
        where = ", ".join(dict.fromkeys(part for part in (str(origin_of(run)), host) if part)) or "-"
        versions = ", ".join(f"{package} {version}" for package, version in run.versions.items()) or "-"
        images = (run.dataset_sha256 or "-")[:12]
        runs.append((name, run.command, run.time[:16].replace("T", " "), where, versions, images, run.summary or "-"))
    yield Table(title="Runs", headers=headers, rows=tuple(runs))
