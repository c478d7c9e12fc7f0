"""``validate --certify N``: N images bit by bit on the board; if they are equal, the rest is measured on the fast machine.

Which kernels of this machine the board agrees with is found out, not assumed (benchmarks/fidelity.py has what was measured).
"""

from __future__ import annotations

from ..origin import THIS_MACHINE
from .certificate import Certificate, compare
from .run import Answered, BoardRun

COMPARED = 20  # images, where a board is compared with this machine without being asked for a number


def certified(run: BoardRun) -> Answered:
    """Compare, then validate here if all bits are equal, else on the board. The certificate is in the report either way."""
    request, listing = run.request, run.listing
    assert request.certify is not None and listing is not None
    found, kernels = certificate(run, request.certify)
    if found.carries_over:
        run.report("the bits are equal: validating on this machine")
        answered = run.validate_here(["--kernels", kernels] if kernels else [])
        measured = THIS_MACHINE
    else:
        run.report("the bits differ: validating on the board")
        flags = [] if request.max_drop is None else ["--max-drop", str(request.max_drop)]
        answered = run.verb(listing, reference=run.answers(listing), flags=flags)
        measured = "the board"
    report = {**answered.report, "certificate": found.to_dict(), "measured_on": measured}
    text = f"{found.to_text()}\nThe figures were measured on {measured}.\n\n{answered.text}"
    return Answered(code=answered.code, text=text, report=report)


def certificate(run: BoardRun, count: int) -> tuple[Certificate, str | None]:
    """Return how ``count`` images compare, and the kernels of this machine that agree where they are not the ones asked for."""
    listing = run.listing
    assert listing is not None
    sample = listing.spread(min(count, len(listing.names)))
    where = run.session.shell.name
    run.report(f"comparing the bits of {len(sample.names)} images")
    there = run.fingerprint(sample)
    first = compare(run.fingerprint_here(sample), there, where=where)
    if first.carries_over or not first.integer or "--kernels" in " ".join(run.request.flags):
        return first, None
    second = compare(run.fingerprint_here(sample, ["--kernels", "reference"]), there, where=where)
    return (second, "reference") if second.carries_over else (first, None)
