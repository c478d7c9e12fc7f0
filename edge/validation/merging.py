"""Several validation reports of one model over disjoint images become one: what boards did in shares.

    python -m edge.validation.merging A.json B.json … [--max-drop D]

prints one report as JSON. Counts are added, and interval, p-value and verdict are computed anew from them; what cannot be put
together from counts (calibration error, confusion matrix, other outputs) is left out.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devices import jsontext, origin

from .. import report_schema, schema
from ..errors import EdgeError, UsageError
from ..numbers import statistics
from .class_scores import METHOD
from .findings import unproven
from .text import ANOTHER_LOOK, near_the_edge, points

Report = Mapping[str, Any]


def merge(reports: Sequence[Report], max_drop: float | None = None) -> dict[str, Any]:
    """Return one report. Raises UsageError for reports that do not belong together, or are none."""
    if not reports:
        raise UsageError("no reports to merge")
    for number, report in enumerate(reports):
        wrong = schema.problem(report, report_schema.SHARE, f"reports[{number}]")
        if wrong is not None:
            raise UsageError(f"{wrong}; merge reports that edgekit validate --json wrote")
    if len({report["model_sha256"] for report in reports}) > 1:
        raise UsageError("the reports are of different models; merge the shares of one validation")
    kinds = {(report["drop"] is None, report["candidate"]["top1"] is None) for report in reports}
    if len(kinds) > 1:
        raise UsageError("some of the reports have a reference or labels and others have none")
    for what, found in (
        ("compared with different references", {_network(report["reference"]) for report in reports}),
        ("run with different kernels", {_part(report, "runtime").get("kernels") for report in reports}),
        ("of different machines", {origin.of_report(report) for report in reports}),
        ("of different layouts", {report["schema_version"] for report in reports}),
    ):
        if len(found) > 1:
            raise UsageError(f"the reports are {what} ({', '.join(sorted(map(str, found)))}); merge the shares of one validation")
    _check_classes(reports)
    _check_images(reports)
    names = [name for report in reports for name in _named(report)]
    if len(set(names)) != len(names):
        raise UsageError("the reports name the same images; merge the shares of one validation")
    total = sum(int(report["images"]) for report in reports)
    drop = _drop(reports, total)
    findings = [finding for report in reports for finding in report["findings"]]
    doubt = unproven((finding["check"], finding["severity"]) for finding in findings)
    verdict = None
    if max_drop is not None and drop is not None:
        verdict = statistics.verdict(tuple(drop["ci95"]), max_drop, unproven=bool(doubt))
    more = None
    if verdict == statistics.UNDECIDED and not doubt and drop is not None and max_drop is not None:
        more = statistics.images_to_decide(drop["flips_lost"], drop["flips_won"], total, max_drop)
    first = reports[0]
    return {
        "schema_version": first["schema_version"],
        "images": total,
        "model": first["model"],
        "reference": None if first["reference"] is None else {**first["reference"], **_accuracy(reports, "reference", total)},
        "candidate": _accuracy(reports, "candidate", total),
        "drop": drop,
        "agreement": _mean(reports, "agreement", total),
        "probability_shift": _mean(reports, "probability_shift", total),
        "max_drop": max_drop,
        "verdict": verdict,
        "images_to_decide": more,
        "findings": findings,
        "per_class": _per_class(reports),
        **{key: [item for report in reports for item in report[key]] for key in ("lost", "won", "changed", "unreadable")},
        "model_sha256": first["model_sha256"],
        "runtime": first["runtime"],
        "shares": [
            {key: report.get(key) for key in ("images", "dataset_sha256", "runtime", "host", "timing", "board")}
            for report in reports
        ],
    }


def _network(reference: Mapping[str, Any] | None) -> str | None:
    """Which network a reference is: stored outputs of one network are other files for each share's images."""
    return None if reference is None else reference.get("network_sha256") or reference.get("sha256")


def _part(report: Report, key: str) -> Mapping[str, Any]:
    part = report.get(key)
    return part if isinstance(part, Mapping) else {}


def _check_classes(reports: Sequence[Report]) -> None:
    """Raise UsageError where one class has two names: then the labels of the shares are not the same."""
    names: dict[int, str] = {}
    for report in reports:
        for row in report["per_class"]:
            known = names.setdefault(row["class_id"], row["label"])
            if known != row["label"]:
                raise UsageError(
                    f"class {row['class_id']} is {known!r} in one report and {row['label']!r} in another; merge the shares of one"
                    " validation, with the same labels"
                )


def _check_images(reports: Sequence[Report]) -> None:
    """Raise UsageError where an image is in two reports: counted twice, it would make the interval narrower than it is."""
    wholes = [report["dataset_sha256"] for report in reports if report.get("dataset_sha256")]
    seen: set[bytes] = set()
    twice = 0
    for report in reports:
        data = _digests(report)
        digests = {data[i : i + 8] for i in range(0, len(data), 8)}
        twice += len(seen & digests)
        seen |= digests
    if twice or len(set(wholes)) != len(wholes):
        many = f"{twice:,} images are" if twice else "the same images are"
        raise UsageError(f"{many} in more than one of the reports; merge the shares of one validation, each of them once")


def _digests(report: Report) -> bytes:
    try:
        return base64.b64decode(str(_part(report, "dataset").get("image_digests") or ""), validate=True)
    except ValueError as error:
        raise UsageError(
            f"dataset.image_digests is no base64 ({error}); merge reports that edgekit validate --json wrote"
        ) from error


def to_text(report: Report) -> str:
    """Return a merged report for people."""
    lines = [f"{Path(report['model']['file']).name}, {report['images']:,} images in {len(report['shares'])} shares"]
    after, before, drop = report["candidate"]["top1"], report["reference"], report["drop"]
    if after is not None:
        lines.append(f"  top-1 {after:.2%}" + ("" if drop is None else f", reference {before['top1']:.2%}"))
    if drop is not None:
        low, high = drop["ci95"]
        lines.append(f"  lost {drop['flips_lost']}, won {drop['flips_won']}, exact McNemar p = {drop['p_value']:.3g}")
        lines += near_the_edge(drop["p_value"], drop["ci95"])
        said = f"the drop is {points(drop['top1'])} points, and with 95 % confidence between {points(low)} and {points(high)}"
        if report["verdict"] is None:
            lines.append(f"  {said}")
        else:
            more = report["images_to_decide"]
            doubt = unproven((finding["check"], finding["severity"]) for finding in report["findings"])
            how = f", but {doubt}" if doubt and report["verdict"] == statistics.UNDECIDED else ""
            how = how if more is None else f"; about {more:,} images like these would decide it {ANOTHER_LOOK}"
            lines.append(f"{report['verdict'].upper()}: {said}; at most {points(report['max_drop'])} are allowed{how}.")
    return "\n".join(lines)


def _drop(reports: Sequence[Report], total: int) -> dict[str, Any] | None:
    if reports[0]["drop"] is None:
        return None
    lost, won = (sum(int(report["drop"][key]) for report in reports) for key in ("flips_lost", "flips_won"))
    return {
        "top1": (lost - won) / total,
        "ci95": list(statistics.paired_interval(lost, won, total)),
        "flips_lost": lost,
        "flips_won": won,
        "p_value": statistics.mcnemar_exact(lost, won),
        "method": METHOD,
    }


def _accuracy(reports: Sequence[Report], side: str, total: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {"ece": None}
    for key in ("top1", "top5"):
        rates = [(report[side][key], int(report["images"])) for report in reports]
        # Back to whole numbers of images first: rates that were rounded must not add up to another count.
        known = [round(rate * images) for rate, images in rates if rate is not None]
        found[key] = sum(known) / total if len(known) == len(rates) else None
    return found


def _mean(reports: Sequence[Report], key: str, total: int) -> float | None:
    values = [(report[key], int(report["images"])) for report in reports]
    return None if any(value is None for value, _ in values) else sum(value * images for value, images in values) / total


def _per_class(reports: Sequence[Report]) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for report in reports:
        for row in report["per_class"]:
            known = rows.setdefault(
                row["class_id"], {**row, "images": 0, "flips_lost": 0, "flips_won": 0, "right": 0, "before": 0}
            )
            known["right"] += round(row["candidate"] * row["images"])
            known["before"] += 0 if row["reference"] is None else round(row["reference"] * row["images"])
            for key in ("images", "flips_lost", "flips_won"):
                known[key] += row[key]
    merged = []
    for _, row in sorted(rows.items()):
        right, before = row.pop("right"), row.pop("before")
        row["candidate"] = right / row["images"]
        if row["reference"] is not None:
            row["reference"] = before / row["images"]
            row["drop"] = row["reference"] - row["candidate"]
        merged.append(row)
    return merged


def _named(report: Report) -> list[str]:
    return [str(flip["image"]) for key in ("lost", "won") for flip in report[key]]


def _read(path: Path) -> Any:
    try:
        return jsontext.loads(path.read_bytes(), mend=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no report that can be read ({' '.join(str(error).split())})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Print the merged report as ``{"report": …, "text": …}``."""
    parser = argparse.ArgumentParser(prog="edge.validation.merging", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--max-drop", type=float)
    args = parser.parse_args(argv)
    try:
        report = merge([_read(path) for path in args.files], args.max_drop)
    except EdgeError as error:
        print(f"edgekit: error: {error}", file=sys.stderr)
        return error.exit_code
    json.dump({"report": report, "text": to_text(report)}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
