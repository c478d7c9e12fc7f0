"""What a small file may take is bounded: in total, and by the machine's memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge.artefact import archive, graph
from edge.artefact.flatbuffer import Flatbuffer
from edge.errors import ArtefactError
from edge.runtime import images
from edge.system import memory
from tests.edge.bombs import peak_mib, png, tensors_of_one, zipped

pytestmark = pytest.mark.thorough

_PREPROCESS = """
from edge.artefact.contract import InputSpec
from edge.runtime.preprocess import preprocess
spec = InputSpec(width=64, height=64)
"""


@pytest.mark.parametrize(("kind", "bits"), [(0, 16), (2, 16), (6, 16), (2, 8), (0, 8)])
def test_a_picture_takes_at_most_its_budget(kind: int, bits: int, tmp_path: Path) -> None:
    side = 5000
    path = png(tmp_path / "bomb.png", side, side, kind=kind, bits=bits)
    assert path.stat().st_size < 1 << 20
    peak, said = peak_mib(f"preprocess({str(path)!r}, spec)", imports=_PREPROCESS)
    assert said == "done"
    assert peak <= images.PIXEL_BYTES * side * side >> 20


def test_threads_share_the_budget(tmp_path: Path) -> None:
    """A third of 1.5 GiB holds one such picture, and four threads have it one after the other."""
    side = 6000
    path = png(tmp_path / "bomb.png", side, side, kind=6, bits=8)
    imports = f"from edge.runtime.pool import ordered{_PREPROCESS}"
    call = f"assert len(list(ordered(lambda path: preprocess(path, spec), [{str(path)!r}] * 8, 4))) == 8"
    peak, said = peak_mib(call, imports=imports, limit_mib=1536)
    assert said == "done"
    assert peak <= 1536 // images.MEMORY_SHARE


def test_a_picture_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "bomb.png", 9000, 9000, kind=6, bits=8)
    peak, said = peak_mib(f"preprocess({str(path)!r}, spec)", imports=_PREPROCESS, limit_mib=1536)
    assert said.startswith("ImageError")
    assert "scale it down first" in said
    assert peak < 32


def test_a_budget_is_waited_for() -> None:
    budget = memory.Budget(1000)
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with budget.taken(budget.bytes // 2 + 1):
            order.append("second")

    thread = threading.Thread(target=second)
    with budget.taken(budget.bytes // 2 + 1):
        thread.start()
        begun.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_packed_files_are_bounded_together() -> None:
    data = zipped(40, 63 << 20)
    assert len(data) < 12 << 20
    with pytest.raises(ArtefactError, match="64 MiB together"):
        archive.read(data)
    peak, said = peak_mib(
        "archive.read(zipped(40, 63 << 20))", imports="from edge.artefact import archive\nfrom tests.edge.bombs import zipped"
    )
    assert said.startswith("ArtefactError")
    assert peak < 320  # two of 63 MiB each to make it, one to read it
    assert archive.read(zipped(40, 1 << 20)) is not None


def test_on_a_small_machine_packed_files_have_an_eighth() -> None:
    imports = "from edge.artefact import archive\nfrom tests.edge.bombs import zipped\ndata = zipped(4, 10 << 20)"
    assert peak_mib("archive.read(data)", imports=imports)[1] == "done"
    _, said = peak_mib("archive.read(data)", imports=imports, limit_mib=300)
    assert "an eighth of the memory" in said


def test_a_table_that_is_named_over_and_over_is_read_a_few_times() -> None:
    data = tensors_of_one(1 << 20)
    file = Flatbuffer(data)
    subgraph = next(file.root().tables(2))
    read = 0
    with pytest.raises(ArtefactError, match="over and over"):
        for _ in subgraph.tables(0):
            read += 1
    assert read < (len(data) + (1 << 16)) // 16  # as many as tables of this size could stand in the file
    with pytest.raises(ArtefactError, match="over and over"):
        graph.read(data)


def test_the_tables_of_a_large_file_are_bounded() -> None:
    data = tensors_of_one(4 << 20)
    with pytest.raises(ArtefactError, match="more than any model has"):
        graph.read(data)
