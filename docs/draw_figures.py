"""Draw the figures of the pages: ``make figures`` after a result of a benchmark, a formula or a figure was changed.

Each becomes ``docs/assets/figures/NAME.svg``, which a page shows as a picture. It holds the SHA-256 of what is drawn, and a test compares
it with what would be drawn now. Figures of measurements read ``benchmarks/results/``; the others call the code that they explain.
"""

from __future__ import annotations

import sys
from pathlib import Path

import figures_boards
import figures_int8
import figures_quantization
import figures_runs
import figures_statistics
from figure_card import Figure

FOLDER = Path(__file__).resolve().parent / "assets" / "figures"


def figures() -> list[Figure]:
    """Return every figure."""
    modules = (figures_quantization, figures_boards, figures_runs, figures_statistics, figures_int8)
    return [figure for module in modules for figure in module.figures()]


def main() -> int:
    """Draw those that are missing or of other data, and remove those that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = figures()
    for path in FOLDER.glob("*.svg"):
        if path.stem not in {figure.name for figure in wanted}:
            path.unlink()
            print(f"removed {path.name}")
    for figure in wanted:
        path = FOLDER / f"{figure.name}.svg"
        if not path.exists() or figure.digest() not in path.read_text(encoding="utf-8"):
            path.write_text(figure.svg(), encoding="utf-8")
            print(f"wrote {path.relative_to(FOLDER.parents[2])}, {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
