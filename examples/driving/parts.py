"""A part of a recording in memory, as a line is trained on it: stacked frames, histories, targets, and variations of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lines  # the files beside this one
import numpy as np
import recording
from numpy.typing import NDArray

import edge
from edge import load_pixels

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
PAST = 3  # frames before, whose steering is known too
SHIFT = 4  # pixels to the left or right, at most


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The frames of one part, n of them.

    ``pixels``: uint8 ``(n, H, W, 3)``. ``stacks``: ``(n, frames)``, which of them are seen together, the oldest first. ``extra``: what
    the line takes beside the picture, scaled, float32 ``(n, ...)``. ``targets``: float32 ``(n, 2 + PAST)``, the columns lines.OUTPUTS
    and the steering of the frames before, the newest first.
    """

    pixels: NDArray[np.uint8]
    stacks: Indices
    extra: dict[str, Floats]
    targets: Floats

    @classmethod
    def read(
        cls,
        data: Path,
        name: str,
        spec: edge.InputSpec,
        frames: int,
        inputs: Mapping[str, Floats],
        *,
        limit: int | None = None,
        reaction: int = 0,
        smooth: float = 0.0,
    ) -> Part:
        """Read a part in the order of recording. inputs: name to scale of each input beside the picture, in the input's shape.

        No past reaches across a gap: see `recording.past_of_each`. limit: the first so many frames. reaction, smooth: see
        `recording.read`.
        """
        runs = recording.read(data, name, reaction=reaction, smooth=smooth)
        pasts = list(recording.past_of_each(runs, max(recording.rows_needed(frames, inputs), 1 + PAST), whole=False))[:limit]
        rows = [past[-1] for past in pasts]
        number = {row["path"]: index for index, row in enumerate(rows)}
        extra = {
            key: np.array([recording.values(key, scale.shape, past[:-1]).split() for past in pasts], np.float32).reshape(
                -1, *scale.shape
            )
            / scale
            for key, scale in inputs.items()
        }
        answers = np.array([[float(row["target_" + output]) for output in lines.OUTPUTS] for row in rows], np.float32)
        before = np.array([[float(past[-2 - back]["steering"]) for back in range(PAST)] for past in pasts], np.float32)
        return cls(
            pixels=np.stack([load_pixels(row["path"], spec) for row in rows]),
            stacks=np.array([[number[row["path"]] for row in past[-frames:]] for past in pasts]),
            extra=extra,
            targets=np.concatenate([answers, before], axis=1),
        )

    def __len__(self) -> int:
        return len(self.targets)

    def images(self, chosen: Indices) -> Floats:
        """Return the stacks of the chosen frames as a line takes them: float32 ``(chosen, H, W, 3 * frames)``, -1..1."""
        stacked = np.moveaxis(self.pixels[self.stacks[chosen]], 1, 3)
        return stacked.reshape(*stacked.shape[:3], -1).astype(np.float32) / 127.5 - 1.0

    def extras(self, chosen: Indices, signs: Floats | None = None) -> dict[str, Floats]:
        """Return the other inputs of the chosen frames. signs: -1 for each that is seen in a mirror."""
        found = {name: values[chosen] for name, values in self.extra.items()}
        if signs is not None and "past_steering" in found:
            found["past_steering"] = found["past_steering"] * signs[:, np.newaxis]
        if signs is not None and "history" in found:
            sides = np.ones((len(chosen), 1, found["history"].shape[-1]), np.float32)
            sides[:, 0, recording.SIGNALS.index("steering")] = signs
            found["history"] = found["history"] * sides
        return found

    def answers(self, chosen: Indices, signs: Floats) -> Floats:
        """Return the targets of the chosen frames, those of steering mirrored where ``signs`` is -1."""
        sides = np.repeat(signs[:, np.newaxis], self.targets.shape[1], axis=1)
        sides[:, lines.OUTPUTS.index("acceleration")] = 1  # it has no side
        mirrored: Floats = self.targets[chosen] * sides
        return mirrored


def varied(images: Floats, signs: Floats, rng: np.random.Generator) -> Floats:
    """Return frames as other drives might have shown them: mirrored where ``signs`` is -1, all moved a little and in other light."""
    count, _, width, _ = images.shape
    columns = np.arange(width)[np.newaxis, :] + rng.integers(-SHIFT, SHIFT + 1, (count, 1))
    columns = np.where(signs[:, np.newaxis] < 0, width - 1 - columns, columns).clip(0, width - 1)
    moved = np.take_along_axis(images, columns[:, np.newaxis, :, np.newaxis], axis=2)
    gain, offset = rng.uniform(0.7, 1.3, (count, 1, 1, 1)), rng.uniform(-0.2, 0.2, (count, 1, 1, 1))
    return np.clip(moved * gain + offset, -1, 1).astype(np.float32)
