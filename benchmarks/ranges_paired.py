"""One method against each other one on the same photos: where is it better, where worse, and where is the difference chance?

Agreement: photos on which exactly one of the two files answers the float network's class, McNemar's exact test and Tango's interval.
Shift: the mean of the photos' differences and Student's interval. A verdict is ``better`` or ``worse`` only where the 95 % interval
leaves out zero; everything else is ``tied``. Nothing is widened for the number of comparisons, so that ``worse`` is found rather too
often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.numbers import statistics
from quantize.analyse import paired
from quantize.calibrate import output_error
from quantize.calibrate.output_error import Outputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one file did on each photo, ``(photos,)``: ``error`` against float, ``agrees`` with its first class (empty without classes)."""

    error: NDArray[np.float64]
    agrees: NDArray[np.bool_]

    @classmethod
    def of(cls, reference: Outputs, candidate: Outputs, contract: Contract) -> Answers:
        """Compare the outputs of a file with the float network's."""
        error = output_error.per_image(reference, candidate, output_error.kinds_of(contract))
        spec = next((output for output in contract.outputs if output.is_classes), None)
        if spec is None:
            return cls(error=error, agrees=np.zeros(0, np.bool_))
        first = [paired.classes(outputs, spec) for outputs in (reference, candidate)]
        return cls(error=error, agrees=first[0] == first[1])

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what ``save`` wrote."""
        with np.load(path) as kept:
            return cls(error=kept["error"], agrees=kept["agrees"])

    def save(self, path: Path) -> None:
        """Write to an ``.npz``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, error=self.error, agrees=self.agrees)


def against(method: str, answers: Mapping[str, Answers]) -> dict[str, dict[str, Any]]:
    """Return ``method`` against each of the others: differences are ``method``'s minus the other's, intervals of 95 %."""
    own, found = answers[method], {}
    for name, other in answers.items():
        if name == method:
            continue
        difference = own.error - other.error
        shift = statistics.mean_interval(difference)
        found[name] = {
            **(_agreement(own, other) if own.agrees.size else {}),
            "shift": float(difference.mean()),
            "shift_ci95": list(shift),
            "shift_verdict": _verdict(-shift[1], -shift[0]),
        }
    return found


def _agreement(own: Answers, other: Answers) -> dict[str, Any]:
    gained, missed = int(np.sum(own.agrees & ~other.agrees)), int(np.sum(~own.agrees & other.agrees))
    low, high = statistics.paired_interval(missed, gained, own.agrees.size)
    return {
        "agreement": (gained - missed) / own.agrees.size,
        "agreement_ci95": [-high, -low],
        "agrees_alone": gained,
        "other_alone": missed,
        "p_value": statistics.mcnemar_exact(missed, gained),
        "agreement_verdict": _verdict(-high, -low),
    }


def text(method: str, compared: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the comparisons for people."""
    lines = [
        f"{method + ' against':20}{'agreement':>10}  {'95 % interval':>16}{'p':>7}          {'shift':>9}  {'95 % interval':>20}"
    ]
    for name, entry in compared.items():
        agreement = f"{'-':>10}{'':33}"
        if "agreement" in entry:
            low, high = (100 * end for end in entry["agreement_ci95"])
            chance = f"{entry['p_value']:7.3f} {entry['agreement_verdict']:8}"
            agreement = f"{100 * entry['agreement']:+10.2f}  {low:+7.2f} to {high:+5.2f}{chance}"
        lines.append(
            f"{name:20}{agreement}"
            f"{entry['shift']:+10.4f}  {entry['shift_ci95'][0]:+8.4f} to {entry['shift_ci95'][1]:+8.4f} {entry['shift_verdict']}"
        )
    return "\n".join(lines)


def _verdict(low: float, high: float) -> str:
    """Of an interval of how much better the method is."""
    return "better" if low > 0 else "worse" if high < 0 else "tied"
