"""What a validation found, as data and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.findings import Finding

from ..numbers import markup, statistics
from .class_scores import ClassRow, ClassSummary, accuracy_dict, drop_dict

SCHEMA_VERSION = 1
MOST_NAMED = 10_000  # images in each of ``lost``, ``won`` and ``changed``; their numbers are counted in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An image whose first answer differs between reference and candidate. ``label`` is empty where it is not known.

    ``margin``: how sure the reference was, the probability of its first class minus that of its second. ``sha256``: of the file's
    content, by which a report knows the picture again (of all that a model is fed with, where that is more than one picture).
    """

    image: str
    label: str
    reference: str
    candidate: str
    margin: float | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """All rates are fractions 0..1; a drop is reference minus candidate.

    ``headline`` is the first output with classes; ``outputs`` has every output by name. ``lost`` and ``won`` are the images that
    only the reference, or only the candidate, has right, the first `MOST_NAMED` of them, as of ``changed``. ``verdict`` is None where no
    ``max_drop`` was given. ``unreadable`` maps image to reason. ``note`` says why the run could not have been resumed.
    ``published``: see `edge.validation.published.compare`.
    """

    model: Mapping[str, Any]
    reference: Mapping[str, Any] | None
    images: int
    headline: ClassSummary | None
    outputs: Mapping[str, Mapping[str, Any]]
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]
    changed: tuple[Flip, ...]
    unreadable: Mapping[str, str]
    findings: tuple[Finding, ...]
    max_drop: float | None
    verdict: str | None
    images_to_decide: int | None
    dataset: Mapping[str, Any]
    runtime: Mapping[str, Any]
    host: Mapping[str, Any]
    timing: Mapping[str, Any]
    note: str | None = None
    published: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model['name']}: {', '.join(f'{name} {said}' for name, said in self._headlines())}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = list(self._headlines())
        drop = None if self.headline is None else self.headline.drop
        if drop is not None:
            rows.append(("", markup.interval(drop.ci95[0], drop.top1, drop.ci95[1], limit=self.max_drop)))
        rows += [(finding.severity, finding.message) for finding in self.findings]
        return markup.table(rows, caption=str(self.model["file"]))

    def _headlines(self) -> list[tuple[str, str]]:
        """Return the figures that a person asks for first, each with its name."""
        found = [("images", f"{self.images:,}")]
        head = self.headline
        if head is not None and head.candidate is not None:
            found.append(("top-1", f"{head.candidate.top1:.1%}"))
        if head is not None and head.drop is not None:
            low, high = (100 * end for end in head.drop.ci95)
            found.append(("drop", f"{100 * head.drop.top1:+.2f} points ({low:+.2f} to {high:+.2f})"))
        if head is not None and head.agreement is not None:
            found.append(("agreement", f"{head.agreement:.1%}"))
        return [*found, *([] if self.verdict is None else [("verdict", self.verdict)])]

    @property
    def exit_code(self) -> int:
        """0 where the verdict is ``pass`` or none was asked for, else 1."""
        return 0 if self.verdict in (None, statistics.PASS) else 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; numbers that are not finite become None."""
        head = self.headline
        nothing = {"top1": None, "top5": None, "ece": None}
        candidate = accuracy_dict(head.candidate) if head is not None else None
        reference = accuracy_dict(head.reference) if head is not None else None
        report = {
            "schema_version": SCHEMA_VERSION,
            "images": self.images,
            "model": dict(self.model),
            "reference": None if self.reference is None else {**self.reference, **(reference or nothing)},
            "candidate": candidate or nothing,
            "drop": drop_dict(head.drop) if head is not None else None,
            "agreement": head.agreement if head is not None else None,
            "probability_shift": head.probability_shift if head is not None else None,
            "max_drop": self.max_drop,
            "verdict": self.verdict,
            "images_to_decide": self.images_to_decide,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "outputs": {name: dict(output) for name, output in self.outputs.items()},
            "per_class": [_row(row) for row in head.per_class] if head is not None else [],
            "confusion": head.confusion if head is not None else None,
            "lost": [dataclasses.asdict(flip) for flip in self.lost],
            "won": [dataclasses.asdict(flip) for flip in self.won],
            "changed": [dataclasses.asdict(flip) for flip in self.changed],
            "unreadable": [{"image": image, "reason": reason} for image, reason in self.unreadable.items()],
            "model_sha256": self.model["sha256"],
            "dataset_sha256": self.dataset["sha256"],
            "dataset": dict(self.dataset),
            "runtime": dict(self.runtime),
            "host": dict(self.host),
            "timing": dict(self.timing),
            "note": self.note,
            "published": None if self.published is None else dict(self.published),
        }
        plain: dict[str, Any] = _finite(report)
        return plain


def _row(row: ClassRow) -> dict[str, Any]:
    drop = None if row.reference is None else row.reference - row.candidate
    return {
        "class_id": row.class_id,
        "label": row.label,
        "images": row.images,
        "reference": row.reference,
        "candidate": row.candidate,
        "drop": drop,
        "flips_lost": row.lost,
        "flips_won": row.won,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
