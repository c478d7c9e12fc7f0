"""What `edge.validate` returns: the outcome of a validation, put together and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.findings import Finding

from ..bench import host
from ..data.dataset import LabelledImages
from ..files import sha256_bytes
from ..numbers import statistics
from ..runtime.model import Model
from . import text
from .class_scores import ClassSummary, class_name
from .findings import unproven
from .outcome import MOST_NAMED, Flip, Outcome
from .paired import Comparison
from .reference import ReferenceOutputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ValidationReport(Outcome):
    """An outcome that tells itself to people."""

    def to_text(self) -> str:
        """Return the report for people."""
        return text.render(self)


def build(
    comparison: Comparison,
    dataset: LabelledImages,
    *,
    dataset_sha256: str,
    digests: str,
    contents: NDArray[np.uint8],
    unreadable: Mapping[str, str],
    headline: ClassSummary | None,
    outputs: Mapping[str, Mapping[str, Any]],
    findings: tuple[Finding, ...],
    max_drop: float | None,
    answers: tuple[NDArray[np.int32], NDArray[np.int32]] | None,
) -> ValidationReport:
    """Return the report.

    dataset: the images that could be read; contents: their SHA-256, (N, 32). answers: class ids (N,) of reference and of candidate.
    """
    drop = headline.drop if headline is not None else None
    doubt = unproven((finding.check, finding.severity) for finding in findings)
    verdict = None if max_drop is None or drop is None else statistics.verdict(drop.ci95, max_drop, unproven=bool(doubt))
    more = None
    if verdict == statistics.UNDECIDED and not doubt and drop is not None and max_drop is not None:
        more = statistics.images_to_decide(len(drop.lost), len(drop.won), len(dataset), max_drop)

    def flips(positions: tuple[int, ...]) -> tuple[Flip, ...]:
        if headline is None or answers is None:
            return ()
        before, after = answers
        return tuple(
            Flip(
                image=dataset.items[i].id,
                label=dataset.label_text(dataset.items[i]),
                reference=class_name(headline.spec, int(before[i])),
                candidate=class_name(headline.spec, int(after[i])),
                margin=None if headline.margins is None else float(headline.margins[i]),
                sha256=bytes(contents[i]).hex(),
            )
            for i in positions[:MOST_NAMED]
        )

    candidate, reference = comparison.candidate, comparison.reference
    return ValidationReport(
        model={**_identity(candidate), "variant": candidate.contract.quantization.variant},
        reference=None if reference is None else _identity(reference),
        images=len(dataset),
        headline=headline,
        outputs=outputs,
        lost=flips(drop.lost if drop is not None else ()),
        won=flips(drop.won if drop is not None else ()),
        changed=flips(headline.changed if headline is not None else ()),
        unreadable=unreadable,
        findings=findings,
        max_drop=max_drop,
        verdict=verdict,
        images_to_decide=more,
        dataset={"path": str(dataset.root), "sha256": dataset_sha256, "labelled": dataset.labelled, "image_digests": digests},
        runtime=comparison.runtime.to_dict(),
        host=host.describe(),
        timing={},
    )


def _identity(model: Model | ReferenceOutputs) -> dict[str, Any]:
    if isinstance(model, Model):
        container = model.container
        return {
            "file": str(model.path),
            "name": model.contract.name,
            "kind": "artefact",
            "bytes": container.file_bytes,
            "sha256": container.model_sha256,
            "file_sha256": container.sha256,
        }
    return {
        "file": str(model.path),
        "name": model.contract.name,
        "kind": "stored outputs",
        # Of the network that answered: files with its answers to other images have another SHA-256.
        "network_sha256": sha256_bytes(model.contract.to_json().encode()),
        "bytes": model.path.stat().st_size,
        "sha256": model.sha256,
        "file_sha256": model.sha256,
    }
