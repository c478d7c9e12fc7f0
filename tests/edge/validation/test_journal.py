from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge.validation.journal import Journal, cache_folder, key

DTYPE = np.dtype([("id", "<i4"), ("score", "<f8", 3)])


def rows(start: int, stop: int) -> np.ndarray:
    records = np.zeros(stop - start, DTYPE)
    records["id"] = np.arange(start, stop)
    records["score"] = np.arange(start, stop)[:, None] / [1, 2, 3]
    return records


def interrupted(folder: Path, name: str, count: int) -> Path:
    """The file that a run leaves which stops after ``count`` records."""
    with pytest.raises(KeyboardInterrupt), Journal(folder, name, DTYPE) as journal:
        journal.extend(rows(0, count))
        raise KeyboardInterrupt
    (path,) = folder.glob("*.journal")
    return path


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    interrupted(tmp_path, "a" * 64, 10)
    with Journal(tmp_path, "a" * 64, DTYPE) as journal:
        assert journal.count == 10
        journal.extend(rows(10, 15))
        np.testing.assert_array_equal(journal.records(), rows(0, 15))
    assert list(tmp_path.iterdir()) == []  # done: no longer needed


def test_another_run_starts_from_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path, "a" * 64, 10)
    with Journal(tmp_path, "b" * 64, DTYPE) as journal:
        assert journal.count == 0
        assert len(journal.records()) == 0


def test_without_resuming_what_is_there_is_forgotten(tmp_path: Path) -> None:
    interrupted(tmp_path, "a" * 64, 10)
    with Journal(tmp_path, "a" * 64, DTYPE, resume=False) as journal:
        assert journal.count == 0
        journal.extend(rows(5, 7))
        np.testing.assert_array_equal(journal.records(), rows(5, 7))


@pytest.mark.parametrize("lost", [1, 4, DTYPE.itemsize, DTYPE.itemsize + 5])
def test_a_torn_end_is_cut_off(tmp_path: Path, lost: int) -> None:
    path = interrupted(tmp_path, "a" * 64, 10)
    path.write_bytes(path.read_bytes()[:-lost])
    with Journal(tmp_path, "a" * 64, DTYPE) as journal:
        intact = journal.count
        assert intact in (8, 9)
        journal.extend(rows(intact, 12))
        np.testing.assert_array_equal(journal.records(), rows(0, 12))


def test_a_spoilt_record_and_all_after_it_are_not_believed(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "a" * 64, 10)
    data = bytearray(path.read_bytes())
    data[-3 * (DTYPE.itemsize + 4) + 2] ^= 1  # in the third from the end
    path.write_bytes(data)
    with Journal(tmp_path, "a" * 64, DTYPE) as journal:
        assert journal.count == 7


def test_a_file_of_something_else_is_started_anew(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "a" * 64, 10)
    path.write_bytes(b"not a journal at all\n" * 10)
    with Journal(tmp_path, "a" * 64, DTYPE) as journal:
        assert journal.count == 0
        journal.extend(rows(0, 2))
        np.testing.assert_array_equal(journal.records(), rows(0, 2))


def test_two_runs_at_once_do_not_share_a_file(tmp_path: Path) -> None:
    with Journal(tmp_path, "a" * 64, DTYPE) as first, Journal(tmp_path, "a" * 64, DTYPE) as second:
        first.extend(rows(0, 3))
        second.extend(rows(5, 6))
        assert first.note is None
        assert second.note is not None and "another run" in second.note
        np.testing.assert_array_equal(first.records(), rows(0, 3))
        np.testing.assert_array_equal(second.records(), rows(5, 6))


def test_a_place_that_cannot_be_written_to_is_said_and_does_not_stop_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with Journal(tmp_path / "file", "a" * 64, DTYPE) as journal:
        assert journal.note is not None and "cannot be resumed" in journal.note
        journal.extend(rows(0, 3))
        np.testing.assert_array_equal(journal.records(), rows(0, 3))


def test_the_key_tells_everything_apart() -> None:
    assert key("a", [1, 2]) == key("a", [1, 2])
    assert len({key("a", [1, 2]), key("a", [1, 3]), key("a", [1], [2]), key("a1", [2])}) == 4


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("EDGEKIT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/edgekit")


def test_some_of_the_records_are_given_from_a_file_too(tmp_path: Path) -> None:
    dtype = np.dtype([("number", "<i8"), ("more", "u1", (1000,))])
    with Journal(tmp_path, "some", dtype) as journal:
        records = np.zeros(20_000, dtype)
        records["number"] = np.arange(20_000)
        journal.extend(records)
        del records
        wanted = np.delete(np.arange(20_000), 777)
        tracemalloc.start()
        found = journal.records(wanted)
        assert found["number"].tolist() == wanted.tolist()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20 < 20_000 * dtype.itemsize  # a copy would be 19 MiB
        assert journal.records(np.zeros(0, np.intp)).size == 0
    assert found["number"][-1] == 19_999  # valid on its own
