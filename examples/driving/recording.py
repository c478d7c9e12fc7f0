"""From a recording (frames and ``labels.csv``, in the order of time) to the manifests that edgekit reads, with what each line takes.

A manifest has one row per frame: ``path`` (several frames separated by ``;`` for stacked ones), a column for each output, and one
for each input beside the picture, its values separated by blanks, the oldest first. A row needs its whole past: the first frames of
a recording, and those behind a gap, are left out, or their past is filled up with the first frame.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import keras
import lines  # the file beside this one
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from edge.errors import DatasetError

LONGEST_GAP_S = 0.5  # between frames that follow each other; the recordings have ten frames a second
COLUMNS = ("part", "file", "steering", "throttle", "brake", "speed")
SIGNALS = ("acceleration", "steering", "speed")
MEANING = {
    "past_acceleration": "throttle minus brake, -1 to 1, the last 60 frames, the oldest first",
    "past_steering": "steering, -1 (left) to 1 (right), the last 60 frames, the oldest first",
    "past_speed": "miles per hour, the last 60 frames, the oldest first",
    "purpose": "where the bot shall go; the public recordings do not say",
    "history": "60 frames, the oldest first, of acceleration, steering, speed (miles per hour) and purpose",
}
SPEED_SCALE = 30.0  # miles per hour that become 1

Row = dict[str, str]


def read(data: Path, part: str, *, reaction: int = 0, smooth: float = 0.0) -> list[list[Row]]:
    """Return the rows of a part in runs without a gap, each row with ``path``, ``acceleration`` and its targets added.

    ``target_steering`` and ``target_acceleration`` are what a network shall answer to the frame. reaction: the signals of this many
    frames later, as a driver answers what was seen after a third of a second; the last rows of a run, whose answer is not known,
    have none (""). smooth: standard deviation in frames of a Gaussian that the signals are averaged by before; a key that is pressed
    again and again becomes the angle that it holds. Raises DatasetError where this is no recording, or the part has no frames.
    """
    rows = _rows(data / "labels.csv", part)
    runs: list[list[Row]] = [[]]
    for row in rows:
        row["path"] = str(frame(data, row).resolve())
        row["acceleration"] = repr(float(row["throttle"]) - float(row["brake"]))
        if runs[-1] and _seconds(row) - _seconds(runs[-1][-1]) > LONGEST_GAP_S:
            runs.append([])
        runs[-1].append(row)
    runs = [run for run in runs if run]
    for run in runs:
        for name in lines.OUTPUTS:
            for row, answer in zip(run, answered(run, name, reaction, smooth), strict=True):
                row["target_" + name] = "" if answer is None else repr(answer)
    return runs


def _rows(labels: Path, part: str) -> list[Row]:
    try:
        with open(labels, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = [] if missing else [row for row in reader if row["part"] == part]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{labels}: {error}; expected a recording: a folder with labels.csv and its frames") from error
    if missing:
        raise DatasetError(f"{labels}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    if not rows:
        raise DatasetError(f"{labels}: no row of part {part!r}; expected rows of train and of test")
    return sorted(rows, key=lambda row: row["file"])


def answered(run: list[Row], name: str, reaction: int, smooth: float) -> list[float | None]:
    """Return the targets of a run for one of its signals, as `read` describes them; None where they are not known."""
    signal = np.array([float(row[name]) for row in run])
    averaged = gaussian_filter1d(signal, smooth, mode="nearest") if smooth else signal
    known = averaged[reaction:].tolist()
    return [*known, *[None] * (len(run) - len(known))]


def frame(data: Path, row: Row) -> Path:
    """Return where the frame of a row is: in ``PART/KEY``, in ``PART``, or beside ``labels.csv``."""
    folders = [data / row["part"] / row.get("key", ""), data / row["part"], data]
    return next((folder / row["file"] for folder in folders if (folder / row["file"]).is_file()), folders[0] / row["file"])


def inputs_of(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Return what ``quantize.load(..., inputs=)`` is told about the inputs of a line beside its picture."""
    return {name: {"scale": tuple(_scale(name, shape)), "meaning": MEANING[name]} for name, shape in shapes_of(model).items()}


def scales_of(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Return by how much the values of each input beside the picture are divided, in the shape of the input."""
    return {name: np.broadcast_to(np.array(_scale(name, shape), np.float32), shape) for name, shape in shapes_of(model).items()}


def _scale(name: str, shape: tuple[int, ...]) -> list[float]:
    if name == "history":
        return [1.0, 1.0, SPEED_SCALE, *[1.0] * (shape[-1] - len(SIGNALS))]
    return [SPEED_SCALE if name == "past_speed" else 1.0]


def shapes_of(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the inputs of a line beside its picture: name to shape without batch axis."""
    return {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs if len(tensor.shape) != 4}


def manifest(
    data: Path,
    part: str,
    out: Path,
    *,
    frames: int = 1,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    limit: int | None = None,
    whole: bool = True,
    reaction: int = 0,
    smooth: float = 0.0,
) -> Path:
    """Write the manifest for a model that takes ``frames`` stacked frames (0: none) and ``inputs``, as `shapes_of` gives them.

    limit: this many rows, evenly spread. whole: leave out the frames without a whole past; otherwise it is filled up as in
    `past_of_each`. reaction, smooth: as in `read`.
    """
    inputs = inputs or {}
    runs = read(data, part, reaction=reaction, smooth=smooth)
    pasts = list(past_of_each(runs, rows_needed(frames, inputs), whole=whole))
    count = len(pasts) if limit is None else min(limit, len(pasts))
    with open(out, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", *lines.OUTPUTS, *inputs])
        for number in range(count):
            past = pasts[number * len(pasts) // count]
            path = ";".join(row["path"] for row in past[-frames:]) if frames else f"row-{number:05d}"
            found = [past[-1]["target_" + name] for name in lines.OUTPUTS]
            found += [values(name, shape, past[:-1]) for name, shape in inputs.items()]
            writer.writerow([path, *found])
    return out


def rows_needed(frames: int, inputs: Mapping[str, Any]) -> int:
    """Return how many rows a model needs for an answer, the newest included."""
    return max(frames, 1 + lines.STEPS if any(name != "purpose" for name in inputs) else 1)


def past_of_each(runs: list[list[Row]], length: int, *, whole: bool) -> Iterator[list[Row]]:
    """Yield each frame that has targets behind its past, ``length`` rows together.

    whole: only those that have one. Otherwise the first frame of a run stands for those before it, with all signals at 0, as in a
    drive loop that has just begun.
    """
    for run in runs:
        known = run if whole else [{**run[0], **dict.fromkeys(SIGNALS, "0")}] * (length - 1) + run
        for end in range(length, len(known) + 1):
            if all(known[end - 1]["target_" + name] for name in lines.OUTPUTS):
                yield known[end - length : end]


def values(name: str, shape: tuple[int, ...], past: list[Row]) -> str:
    """Return the cell of an input: what was known before the frame came. past: the rows before it."""
    past = past[-lines.STEPS :]
    if name == "purpose":
        return " ".join(["0"] * shape[0])
    if name == "history":
        purpose = ["0"] * (shape[-1] - len(SIGNALS))
        return " ".join(itertools.chain.from_iterable([*(row[signal] for signal in SIGNALS), *purpose] for row in past))
    return " ".join(row[name.removeprefix("past_")] for row in past)


def _seconds(row: Row) -> float:
    """Return when a frame was taken, from its name: ``center_YEAR_MONTH_DAY_HOUR_MINUTE_SECOND_MILLISECOND.jpg``."""
    parts = Path(row["file"]).stem.split("_")[-7:]
    return datetime(*map(int, parts[:6])).timestamp() + int(parts[6]) / 1000  # type: ignore[arg-type]  # mypy counts no map
