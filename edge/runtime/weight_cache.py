"""XNNPACK's packed weights in files: mapped into memory, they are shared by processes, and the kernel drops them where memory runs short.

Who opens a model packs its weights anew otherwise, into memory of its own: as much as the weights have. A file holds them by the model's
SHA-256, the runtime with its version and library, the processor's features and the number of threads. XNNPACK checks little of what it
reads: a flipped byte in it gives wrong answers. So everything about a file is decided here before it is opened:

* The folder is its owner's alone. A file is called by its own SHA-256; a record beside it says for what it was made.
* A record keeps what the system says of the file (device, inode, size, times of change) when its SHA-256 was last compared, and the boot
  in which that was. Where any of it differs, the whole file is compared again, and made anew if it is another.
* What is not seen: bytes that a failing card reads differently later in the same boot, and what somebody writes past the file system or
  as this very user. The model's own file is compared in full at every start all the same.
* Another process makes it (`edge.runtime.weight_cache_maker`), and only what answers there, bit for bit as the interpreter does, is kept.

Nothing here is an error for the user: without a cache the interpreter runs, and where somebody can mend that, a note says so.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..artefact.container import Container
from ..errors import InterpreterError, OutputError
from ..system import cache
from . import interpreter
from .interpreter import LoadedInterpreter

FOLDER = "weights"
# Below that a cache would save less than a tenth of what Python and numpy take.
LEAST_BYTES = 4 << 20
_MOST_BYTES = 2 << 30
_DISK_SHARE = 4  # of the file system: no more than a quarter of it
_SPARE_BYTES = 32 << 20  # of the disk: stays free
# Packed weights are about as large as the file (0.97 of an int8 one, 1.0 of a float32 one); float16 is widened.
_PACKED_SHARE, _WIDENED_SHARE = 1.1, 2.1
_RECORD, _FILE, _PART = ".json", ".weights", ".part"
_VERSION = 1
_MOST_RECORD_BYTES = 1 << 16
_PIECE_BYTES = 4 << 20
_FEATURES = (
    *("flags", "vendor_id", "cpu family", "model", "model name", "stepping"),
    *("Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "isa", "uarch"),
)

Key = dict[str, str | int]


class Opened(NamedTuple):
    """A model that is open, None where there is no cache for it; then ``note`` says why, if somebody can mend that."""

    loaded: LoadedInterpreter | None
    note: str | None = None


class Entry(NamedTuple):
    """What is kept: for which model and how many threads, how large its file is, and why there is none."""

    model_sha256: str
    runtime: str
    threads: int
    bytes: int
    without: str | None


class _Kept(NamedTuple):
    descriptor: int
    file: str


def open_model(source: Container, path: str, *, threads: int) -> Opened:
    """Open the model ``path`` with its packed weights from the cache, which is made first where it is missing.

    The caller has checked the file (`edge.artefact.container`). Raises ArtefactError if its graph is not sound or it changes meanwhile.
    """
    library = interpreter.compiled_library()
    if library is None or source.flatbuffer_bytes < LEAST_BYTES:
        return Opened(None)
    key = _key(source, library, threads)
    if key is None:
        return Opened(None)
    folder = cache.own_folder(FOLDER)
    if folder is None:
        return Opened(None, _no_place(os.path.join(cache.folder(), FOLDER), "it cannot be made, or others can write to it"))
    found = _find(folder, key)
    note = None
    if found is None:
        found, note = _make(folder, key, source, threads)
    if not isinstance(found, _Kept):
        return Opened(None, note)
    try:
        loaded = interpreter.open_compiled(path, found.descriptor, threads=threads, library=library)
    except InterpreterError as error:
        return Opened(None, f"the cache of packed weights is not used: {error}")
    finally:
        os.close(found.descriptor)
    source.check_unchanged()
    if not _is_mapped(found.file):
        return Opened(None, "the cache of packed weights is not used: the runtime does not take it")
    with contextlib.suppress(OSError):  # who is asked for last is removed last
        os.utime(os.path.join(folder, _name(key) + _RECORD))
    return Opened(loaded)


def entries() -> list[Entry]:
    """Return what the cache holds, the latest used first."""
    folder = os.path.join(cache.folder(), FOLDER)
    found = []
    for path in _records(folder):
        record = _read(path)
        if record is not None:
            key = record["key"]
            bytes_ = int(record.get("bytes", 0))
            found.append(Entry(key["model_sha256"], key["runtime"], key["threads"], bytes_, record.get("without")))
    return found[::-1]


def _packed_bytes(source: Container) -> int:
    """Return about how large the packed weights of a model are. Raises ArtefactError if its graph is not sound."""
    widened = any(tensor.is_constant and tensor.dtype == "float16" for tensor in source.graph.tensors)
    return int(source.flatbuffer_bytes * (_WIDENED_SHARE if widened else _PACKED_SHARE))


def _no_place(folder: str, why: str) -> str:
    return (
        f"running without a cache of packed weights, which takes more memory: {folder}: {why}; EDGEKIT_HOME names another place"
    )


def _key(source: Container, library: tuple[str, str], threads: int) -> Key | None:
    features = _features()
    if features is None:
        return None
    status = os.stat(library[0])
    return {
        "model_sha256": source.model_sha256,
        "runtime": f"ai-edge-litert {library[1]}",
        "library": f"{status.st_size}-{status.st_mtime_ns}",
        "processor": features,
        "threads": threads,
    }


def _features() -> str | None:
    """Return what decides which kernels run here, None where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            lines = {" ".join(line.split()) for line in stream if line.partition(":")[0].strip() in _FEATURES}
    except OSError:
        return None
    if not lines:
        return None
    return f"{os.uname().machine}-{hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()[:16]}"


def _name(key: Key) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]


def _find(folder: str, key: Key) -> _Kept | str | None:
    """Return the file for ``key``, opened and found to be what was made; why there is none; or None if that is not known yet."""
    path = os.path.join(folder, _name(key) + _RECORD)
    record = _read(path)
    if record is None or record["key"] != key:
        return None
    if "without" in record:
        return str(record["without"])
    file = f"{record['sha256']}{_FILE}"
    try:
        descriptor = os.open(os.path.join(folder, file), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        now = _stamp(descriptor)
        if not now or record["stamp"] != now:
            if _sha256(descriptor) != record["sha256"]:
                os.close(descriptor)
                return None
            with contextlib.suppress(OutputError):  # a read-only disk: it is compared again next time
                _write(path, {**record, "stamp": now})
    except OSError:  # a card that fails
        os.close(descriptor)
        return None
    return _Kept(descriptor, file)


def _make(folder: str, key: Key, source: Container, threads: int) -> tuple[_Kept | str | None, str | None]:
    """Have the file made, and return what `_find` returns, and a note."""
    # Takes time and memory to import, and is not needed once the file is there.
    from ..system import child
    from . import weight_cache_maker as maker

    if child.inside():
        return None, None
    try:
        with _locked(folder):
            found = _find(folder, key)
            if found is not None:  # another process has made it meanwhile
                return found, None
            _sweep(folder, key)
            needed = _packed_bytes(source)
            if not _make_room(folder, needed):
                return None, _no_place(folder, f"one of {needed >> 20} MiB is too large for the disk")
            part = os.path.join(folder, f"{_name(key)}{_PART}")
            try:
                problem = maker.make(source, part, threads=threads, version=str(key["runtime"]).partition(" ")[2])
                if problem is not None and _free_bytes(folder) < _SPARE_BYTES:
                    return None, _no_place(folder, "the disk is full")
                if problem is None:
                    return _keep(folder, key, part), None
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(part)
            if problem.lasting:
                _write(os.path.join(folder, _name(key) + _RECORD), {"version": _VERSION, "key": key, "without": problem.why})
            return problem.why, problem.note
    except OSError as error:
        return None, _no_place(folder, str(error.strerror or error))
    except (InterpreterError, OutputError) as error:
        return None, _no_place(folder, str(error))


def _keep(folder: str, key: Key, part: str) -> _Kept | str | None:
    """Give the finished file its name, write the record, and return what `_find` finds then."""
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o400)
        os.fsync(descriptor)
        sha256 = _sha256(descriptor)
        file = os.path.join(folder, sha256 + _FILE)
        os.replace(part, file)  # the same bytes where there is one: other threads, the same weights
        record = {"version": _VERSION, "key": key, "sha256": sha256, "bytes": os.fstat(descriptor).st_size}
        _write(os.path.join(folder, _name(key) + _RECORD), {**record, "stamp": _stamp(descriptor)})
    finally:
        os.close(descriptor)
    return _find(folder, key)


def _stamp(descriptor: int) -> list[str | int]:
    """Return what changes with a file's bytes, and the boot; nothing where the boot is unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        return []
    status = os.fstat(descriptor)
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "somebody else's file")
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, boot]


def _sha256(descriptor: int) -> str:
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(descriptor, _PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def _is_mapped(file: str) -> bool:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            return any(file in line for line in stream)
    except OSError:
        return False


def _read(path: str) -> dict[str, Any] | None:
    """Return a record, None if there is none that is whole."""
    try:
        with open(path, "rb") as stream:
            record = json.loads(stream.read(_MOST_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("version") != _VERSION or not isinstance(record.get("key"), dict):
        return None
    key = record["key"]
    if not all(isinstance(key.get(name), str) for name in ("model_sha256", "runtime")) or not isinstance(key.get("threads"), int):
        return None
    if "without" in record:
        return record if isinstance(record["without"], str) else None
    sha256 = record.get("sha256")
    whole = isinstance(sha256, str) and len(sha256) == 64 and sha256.isalnum() and isinstance(record.get("bytes"), int)
    return record if whole and isinstance(record.get("stamp"), list) else None


def _write(path: str, record: dict[str, Any]) -> None:
    from .. import files  # takes time to import, and is not needed on the way to an answer

    files.atomic_write_text(path, json.dumps(record, sort_keys=True) + "\n")


def _records(folder: str) -> list[str]:
    """Return the paths of the records, the one that was not used for longest first."""
    try:
        found = [entry for entry in os.scandir(folder) if entry.name.endswith(_RECORD) and not entry.name.startswith(".")]
        return [entry.path for entry in sorted(found, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime_ns)]
    except OSError:
        return []


def _sweep(folder: str, key: Key) -> None:
    """Remove what killed processes left, records that nobody can read, and files that no record names. Under the lock."""
    named = set()
    for path in _records(folder):
        record = _read(path)
        if record is None or record["key"] == key:
            os.unlink(path)
        elif "sha256" in record:
            named.add(record["sha256"] + _FILE)
    for entry in list(os.scandir(folder)):
        if entry.name.endswith(_PART) or (entry.name.endswith(_FILE) and entry.name not in named):
            os.unlink(entry.path)


def _make_room(folder: str, needed: int) -> bool:
    """Remove what was not used for longest, until ``needed`` bytes more are within the bounds; return whether they are. Under the lock."""
    disk = os.statvfs(folder)
    most = min(_MOST_BYTES, disk.f_blocks * disk.f_frsize // _DISK_SHARE)
    if needed > most:
        return False
    for path in (*_records(folder), None):
        held = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(_FILE))
        if held + needed <= most and _free_bytes(folder) >= needed + _SPARE_BYTES:
            return True
        if path is not None and held:
            os.unlink(path)
            _sweep(folder, {})
    return False


def _free_bytes(folder: str) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Wait until no other process makes or removes anything here. The system lets go of it when a process ends, however it does."""
    import fcntl

    descriptor = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
