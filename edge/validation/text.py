"""The validation report as text: what a person sees at a glance, the verdict last, where the eye is when the run ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..numbers import statistics
from . import published
from .class_scores import RANKS
from .findings import unproven

if TYPE_CHECKING:
    from .class_scores import ClassSummary
    from .outcome import Flip, Outcome

_CLASSES = 12  # that changed, named before "and N more"
_FLIPS = 10  # images named before "and N more (all are in --json)"
_LABELS = 12  # of a multi-label output
_WORST = 5  # images of a regression output


# Simulated (tests/edge/numbers/test_statistics.py): a model that loses the limit passes 2.2 % of first looks, 4 to 5 % with a second at
# more of the same images, 6.7 % with five.
ANOTHER_LOOK = (
    "(another look at the same growing data; earlier looks are not taken into account: with each a pass by chance gets likelier)"
)


def render(report: Outcome) -> str:
    """Return the report as lines of text."""
    lines = [_title(report), ""]
    head = report.headline
    if head is not None and head.candidate is not None:
        lines += [*_accuracy(head), ""]
    if report.published is not None:
        lines += [*published.text(report.published), ""]
    if head is not None and head.agreement is not None:
        lines += [*_agreement(head), ""]
    if head is not None and head.drop is not None:
        lines += _classes(head)
        lines += _flips("lost: right in the reference, wrong now", report.lost, len(head.drop.lost))
        lines += _flips("won: wrong in the reference, right now", report.won, len(head.drop.won))
    elif head is not None and report.changed:
        lines += _flips("changed", report.changed, len(head.changed))
    for name, output in report.outputs.items():
        if head is None or output["kind"] not in ("probabilities", "logits") or name != head.spec.name:
            lines += [*_output(name, output), ""]
    lines += [f"{finding.severity}: {finding.message}" for finding in report.findings]
    if report.note is not None:
        lines.append(f"note: {report.note}")
    if report.findings or report.note is not None:
        lines.append("")
    return "\n".join([*lines, *_closing(report)])


def points(fraction: float) -> str:
    """Return a difference of rates in percentage points."""
    value = 100 * fraction
    return f"{0.0 if abs(value) < 0.005 else value:.2f}"


def near_the_edge(p_value: float, ci95: Sequence[float]) -> Iterator[str]:
    """Yield why the p-value is above 0.05 although the interval does not hold zero, where that is so."""
    low, high = ci95
    if p_value >= 0.05 and not low <= 0.0 <= high:
        yield "  p above 0.05 beside an interval without zero is no contradiction: so few lost and won images hardly tell, and the exact"
        yield "  test is the more cautious of the two; the verdict comes from the interval"


def plan_text(plan: statistics.Plan) -> str:
    """Return the answer of ``--plan``, with what it assumes."""
    assumed = (
        f"assumed: a true drop of {points(plan.drop)} points, {plan.discordant:.1%} of the images right in only one of the two,"
        f" verdict from the {plan.confidence:.0%} interval with probability {plan.power:.0%}"
    )
    if plan.images is None and not math.isclose(plan.drop, plan.max_drop):
        return (
            f"More than {statistics.MOST_IMAGES:,} images: the limit of {plan.max_drop:.3g} (a fraction) is too close to the true drop.\n"
            f"{assumed}"
        )
    if plan.images is None:
        return f"No number of images would do: the true drop is at the limit of {points(plan.max_drop)} points.\n{assumed}"
    goal = "is at most" if plan.drop < plan.max_drop else "is above"
    return f"{plan.images:,} images show that the drop {goal} {points(plan.max_drop)} points.\n{assumed}"


def _title(report: Outcome) -> str:
    against = "" if report.reference is None else f" against {Path(report.reference['file']).name}"
    return f"{Path(report.model['file']).name}{against}, {report.images:,} images"


def _accuracy(head: ClassSummary) -> Iterator[str]:
    before, after = head.reference, head.candidate
    assert after is not None
    rows = [("top-1", "top1"), ("top-5", "top5"), ("calibration error", "ece")]
    if 0 < len(head.spec.labels) <= RANKS:
        rows.pop(1)  # five answers of five classes are always right
    if before is None:
        yield from (f"  {name:18} {getattr(after, key):9.2%}" for name, key in rows)
        return
    yield f"  {'':18} {'reference':>10} {'candidate':>10} {'drop':>8}"
    for name, key in rows:
        x, y = getattr(before, key), getattr(after, key)
        line = f"  {name:18} {x:10.2%} {y:10.2%}"
        if key != "ece":
            line += f" {points(x - y):>8}"
        if key == "top1" and head.drop is not None:
            low, high = head.drop.ci95
            line += f" points, 95 % interval {points(low)} to {points(high)}"
        yield line


def _agreement(head: ClassSummary) -> Iterator[str]:
    assert head.agreement is not None and head.probability_shift is not None
    yield f"  same first answer  {head.agreement:10.2%}   {len(head.changed):,} of {head.images:,} images changed"
    by_margin = head.changed_by_margin
    if by_margin is not None and head.changed:
        ties = len(head.changed) - by_margin["above"]
        yield f"  of them near ties  {ties:10,}   where the reference was sure by at most {by_margin['bound']:g}"
    yield f"  probability shift  {head.probability_shift:10.2%}   mean total variation"
    if head.drop is not None:
        lost, won = len(head.drop.lost), len(head.drop.won)
        yield f"  lost / won         {lost:>5,} / {won:<4,} exact McNemar p = {head.drop.p_value:.3g}"
        yield from near_the_edge(head.drop.p_value, head.drop.ci95)


def _classes(head: ClassSummary) -> Iterator[str]:
    changed = sorted((row for row in head.per_class if row.lost or row.won), key=lambda row: (row.won - row.lost) / row.images)
    if not changed:
        return
    width = max(len(row.label) for row in changed[:_CLASSES])
    yield f"  classes that changed, the worst first ({len(changed)} of {len(head.per_class)}):"
    for row in changed[:_CLASSES]:
        assert row.reference is not None
        rates = f"{row.reference:7.1%} -> {row.candidate:6.1%}"
        yield f"    {row.label:{width}}  {rates}   lost {row.lost}, won {row.won} of {row.images}"
    if len(changed) > _CLASSES:
        yield f"    and {len(changed) - _CLASSES:,} more (--json has them all)"
    yield ""


def _flips(title: str, flips: tuple[Flip, ...], total: int) -> Iterator[str]:
    if not flips:
        return
    yield f"  {title}:"
    for flip in flips[:_FLIPS]:
        sure = "" if flip.margin is None or not math.isfinite(flip.margin) else f"   (reference sure by {flip.margin:.2f})"
        yield f"    {flip.image}  {flip.reference} -> {flip.candidate}{sure}"
    if total > _FLIPS:
        where = "--json has them all" if total == len(flips) else f"--json has the first {len(flips):,}"
        yield f"    and {total - _FLIPS:,} more ({where})"
    yield ""


def _output(name: str, output: Mapping[str, Any]) -> Iterator[str]:
    yield f"  output {name} ({output['kind']}):"
    sides = [side for side in ("reference", "candidate") if isinstance(output.get(side), Mapping)]
    if sides:
        yield f"    {'':12}" + "".join(f" {side:>12}" for side in sides)
        for metric in output[sides[0]]:
            yield f"    {metric:12}" + "".join(f" {_number(output[side][metric]):>12}" for side in sides)
    increase = output.get("mae_increase")
    if increase is not None:
        low, high = increase["ci95"]
        yield f"    MAE increase {_number(increase['mean'])}, 95 % interval {_number(low)} to {_number(high)}"
    for key in ("agreement", "cosine", "cosine_min", "sqnr_db", "max_absolute", "score_shift", "probability_shift"):
        if output.get(key) is not None:
            yield f"    {key.replace('_db', ' (dB)').replace('_', ' ')} {_number(output[key])}"
    if "difference" in output:
        mean, most = (_number(output["difference"][key]) for key in ("mean_absolute", "max_absolute"))
        yield f"    candidate minus reference: mean {mean}, at most {most}"
    drop = output.get("exact_match_drop")
    if drop is not None:
        low, high = drop["ci95"]
        yield f"    exact match drop {points(drop['mean'])} points, 95 % interval {points(low)} to {points(high)}"
    for what, title in (("worst", "largest errors"), ("moved", "moved most by the candidate")):
        rows = output.get(what, [])[:_WORST]
        if rows:
            yield f"    {title}:"
        for row in rows:
            told = [f"{side} {_numbers(row[side])}" for side in ("target", "reference", "candidate") if side in row]
            yield f"      {row['image']}: {', '.join(told)}"
    shifted = sorted(output.get("per_label", []), key=lambda row: -abs(row.get("threshold_shift", 0.0)))
    for row in [row for row in shifted if row.get("threshold_shift")][:_LABELS]:
        yield f"    label {row['label']}: threshold shift {row['threshold_shift']:+.3f}, same decision {row['agreement']:.2%}"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(_number(value) for value in values)


def _number(value: float) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.4g}"


def _closing(report: Outcome) -> Iterator[str]:
    head, limit = report.headline, report.max_drop
    if limit is None or head is None or head.drop is None:
        return
    low, high = head.drop.ci95
    measured = f"the drop is {points(head.drop.top1)} points, and with 95 % confidence between {points(low)} and {points(high)}"
    if report.verdict == statistics.UNDECIDED:
        more = report.images_to_decide
        doubt = unproven((finding.check, finding.severity) for finding in report.findings)
        if doubt:
            yield f"UNDECIDED: {measured}; at most {points(limit)} are allowed, but {doubt}."
            return
        how = (
            f"about {more:,} images like these would decide it {ANOTHER_LOOK}"
            if more is not None
            else "the drop measured is the limit itself, or so close to it that more images need not decide it"
        )
        yield f"UNDECIDED: {measured}; at most {points(limit)} are allowed: {how}."
    else:
        yield f"{str(report.verdict).upper()}: {measured}; at most {points(limit)} are allowed."
