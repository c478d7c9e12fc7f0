"""``validate --sequential``: batch after batch, in random order, until the sequential test has decided or the images are used up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ..errors import DeviceError, RemoteError
from ..texts import clean
from . import sequential
from .images import Listing
from .run import Answered, BoardRun

# What `edge.validation.findings` withholds a pass for: whatever answers, every candidate wins against a reference without answers, and two
# models that are fed or labelled wrongly in the same way lose nothing against one another.
_WITHHELD = {
    "reference_not_finite": "make the reference anew",
    "preprocessing": "put that right first, or leave the limit away",
}
_REFERENCE_BATCHES = 8  # the reference runs here for so many batches at once: loading it takes longer than a batch


def until_decided(run: BoardRun) -> Answered:
    """Validate until it is decided. The report has the counts, the verdict, and what the test promises."""
    request, listing = run.request, run.listing
    assert request.max_drop is not None and listing is not None
    names = list(listing.names)
    random.Random(0).shuffle(names)
    plans = ", ".join(f"{sequential.fixed_plan(request.max_drop, rate):,} at {rate:.1%}" for rate in (0.015, 0.055))
    run.report(f"{len(names)} images at most; a fixed number would have to be {plans} discordant images")
    test = sequential.Sequential(limit=request.max_drop)
    done = answered = 0
    answers: Path | None = None
    about: dict[str, Any] = {}
    while done < len(names) and test.verdict is None:
        batch = names[done : done + test.wanted()]
        done += len(batch)
        if done > answered:
            answered = done + (_REFERENCE_BATCHES - 1) * sequential.BATCH
            answers = run.answers(_sorted(listing, names[done - len(batch) : answered]))
        # The first batch tells how the images are fed and labelled; looking for that in each would cost more than the batch.
        flags = () if test.images == 0 else ("--diagnose", "never")
        found = run.verb(_sorted(listing, batch), reference=answers, flags=flags, quiet=True).report
        for finding in found.get("findings", ()):
            if isinstance(finding, dict) and finding.get("severity") == "error" and finding.get("check") in _WITHHELD:
                raise DeviceError(f"{clean(str(finding.get('message')))}; {_WITHHELD[finding['check']]}")
        try:
            drop = found["drop"]
            test.add(int(found["images"]), int(drop["flips_lost"]), int(drop["flips_won"]))
            about = {key: found[key] for key in ("model", "model_sha256", "runtime", "host")}
            # Each batch has a file of answers of its own; what they are answers of is the same.
            about["reference"] = {
                key: found["reference"][key] for key in ("file", "name", "kind", "network_sha256") if key in found["reference"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteError(f"{run.session.shell.name}: a report without the counts that are needed ({error})") from error
        run.report(f"{test.images} of {len(names)} images: {test.lost} lost, {test.won} won")
    verdict = test.verdict or "undecided"
    text = (
        f"{verdict.upper()} after {test.images} of {len(names)} images ({test.lost} lost, {test.won} won): a sequential test (Wald) of the"
        f" population these images were drawn from, limit {request.max_drop:g}, alpha {sequential.ALPHA:g}, power"
        f" {1 - sequential.BETA:g} at no drop"
    )
    data = {
        "verdict": verdict,
        "images": test.images,
        "drop": {"top1": (test.lost - test.won) / max(test.images, 1), "flips_lost": test.lost, "flips_won": test.won},
        "sequential": {
            "limit": request.max_drop,
            "alpha": sequential.ALPHA,
            "power": 1 - sequential.BETA,
            "estimates": "population",
            "log_likelihood_ratio": test.log_likelihood_ratio,
        },
        **about,
        "dataset": {"path": request.images},
    }
    return Answered(code=0 if verdict == "pass" else 1, text=text, report=data)


def _sorted(listing: Listing, names: list[str]) -> Listing:
    return listing.only(sorted(names))
