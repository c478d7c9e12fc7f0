"""A power cut at any moment leaves what was promised: the order in which a real deployment writes, syncs and renames, seen by strace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devices.rollout import deploy
from devices.transport.local import LocalShell
from devices.transport.session import Session

_CALLS = (
    "openat,write,pwrite64,writev,sendfile,copy_file_range,truncate,ftruncate,fsync,fdatasync,sync,syncfs,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir"
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += \d+(?:<.*>)?$")
_RESUMED = re.compile(r" *<\.\.\. \w+ resumed>(.*)")
_TEXT = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(\d+)<([^>]*)>")


@dataclass(slots=True)
class Content:
    """What a file holds; several names may lead to it."""

    on_disk: bool = False


@dataclass(slots=True)
class Disk:
    """What a power cut would leave of a folder: which contents, and which names, have been seen to the disk."""

    root: str
    contents: dict[str, Content] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)  # names that their folder may not have after a power cut
    renamed: set[str] = field(default_factory=set)  # since the last answer
    faults: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # what was held to a promise

    def play(self, log: Path) -> None:
        """Follow the system calls that strace wrote down."""
        begun: dict[str, str] = {}
        for line in log.read_text("utf-8").splitlines():
            process, _, call = line.partition(" ")
            if call.endswith(" <unfinished ...>"):
                begun[process] = line.removesuffix(" <unfinished ...>")
                continue
            if (rest := _RESUMED.match(call)) is not None:
                line = begun.pop(process) + rest[1]
            if (found := _LINE.match(line)) is not None:
                self._call(found[1], found[2])

    def missing(self, folder: str) -> list[str]:
        """Return what a power cut could take from a folder, or the folder itself."""
        inside = [path for path in {*self.contents, *self.unsure} if path.startswith(f"{folder}/")]
        above = [folder]
        while above[-1] != self.root and len(above[-1]) > 1:
            above.append(os.path.dirname(above[-1]))
        return sorted(path for path in (*inside, *above) if not self._safe(path))

    def _safe(self, path: str) -> bool:
        return path not in self.unsure and (path not in self.contents or self.contents[path].on_disk)

    def _call(self, name: str, arguments: str) -> None:
        descriptors = [path for _, path in _DESCRIPTOR.findall(arguments)]
        paths = [os.path.join(folder, text) for folder, text in _TEXT.findall(arguments)]
        match name:
            case "write" if arguments.startswith("1<"):
                self._answered(arguments)
            case "write" | "pwrite64" | "writev" | "ftruncate" | "sendfile":
                self._written(descriptors[0])
            case "copy_file_range":
                self._written(descriptors[1])
            case "truncate":
                self._written(paths[0])
            case "openat" if "O_CREAT" in arguments or "O_TRUNC" in arguments:
                if paths[0] not in self.contents:
                    self.unsure.add(paths[0])
                self._written(paths[0])
            case "fsync" | "fdatasync":
                self._synced(descriptors[0])
            case "sync" | "syncfs":
                self.unsure.clear()
                for content in self.contents.values():
                    content.on_disk = True
            case "rename" | "renameat" | "renameat2":
                self._renamed(paths[0], paths[1])
            case "link" | "linkat":
                self.contents[paths[1]] = self.contents[paths[0]]
                self.unsure.add(paths[1])
            case "symlink" | "symlinkat":
                self.links[paths[1]] = _TEXT.findall(arguments)[0][1]
                self.unsure.add(paths[1])
            case "mkdir" | "mkdirat":
                self.unsure.add(paths[0])
            case "unlink" | "unlinkat" | "rmdir":
                self.contents.pop(paths[0], None)
                self.unsure.discard(paths[0])

    def _written(self, path: str) -> None:
        if path.startswith(f"{self.root}/"):
            self.contents.setdefault(path, Content()).on_disk = False

    def _synced(self, path: str) -> None:
        if path in self.contents:
            self.contents[path].on_disk = True
        self.unsure = {name for name in self.unsure if os.path.dirname(name) != path}

    def _renamed(self, old: str, new: str) -> None:
        if old in self.contents and not self.contents[old].on_disk:
            self.faults.append(f"{new} may be empty: it was renamed before it was on the disk")
        if os.path.basename(new) == "complete.json":
            self._promise(new, os.path.dirname(new), but=old)
        if new == f"{self.root}/current":
            release = f"{self.root}/{self.links[old]}"
            self._promise(new, release)
            self._promise(new, os.path.normpath(f"{release}/{self.links[f'{release}/env']}"))
        if old in self.contents:
            self.contents[new] = self.contents.pop(old)
        if old in self.links:
            self.links[new] = self.links.pop(old)
        self.unsure = (self.unsure - {old}) | {new}
        self.renamed.add(new)

    def _promise(self, mark: str, folder: str, but: str = "") -> None:
        self.seen.append(os.path.relpath(mark, self.root))
        self.faults += [f"{mark} leads to {path}, which may not be there" for path in self.missing(folder) if path != but]

    def _answered(self, arguments: str) -> None:
        """Nothing is said to be done before it is."""
        done = {path for path in self.renamed if path in self.contents or path in self.links}
        said = json.loads(json.loads('"' + _TEXT.findall(arguments)[0][1] + '"'))
        if str(said.get("path", "")).startswith((f"{self.root}/uploads/", f"{self.root}/cache/")):
            self.seen.append(os.path.dirname(os.path.relpath(said["path"], self.root)))
            done.add(said["path"])
        self.faults += [f"{path} was said to be done, and may not be there" for path in done if not self._safe(path)]
        self.renamed.clear()


class Recorder:
    """This machine as a board whose system calls are written down."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.log = folder / "calls"
        python = folder / "python"
        options = f"-f -y --seccomp-bpf -s 2000 -e trace={_CALLS} {' '.join(flags)} -o '{self.log}'"
        python.write_text(f'#!/bin/sh\nexec strace {options} -- {sys.executable} "$@"\n')
        python.chmod(0o755)
        if shutil.which("strace") is None:
            pytest.skip("needs strace (apt-get install strace)")
        tried = subprocess.run([python, "-c", ""], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            pytest.skip(f"strace cannot be used here: {tried.stderr.strip()}")
        self.shell = LocalShell(str(python))


def test_what_is_current_is_on_the_disk(prepared: Path, first: Path, second: Path, tmp_path: Path) -> None:
    root = prepared.with_name("recorded")
    options = deploy.Options(folder=str(root), selftest=False)
    disk = Disk(root=str(root))
    try:
        recorder = Recorder(tmp_path)
        deploy.deploy(recorder.shell, first, options, lambda _: None)
        disk.play(recorder.log)
        assert disk.seen.count("current") == 2 and disk.seen.count("uploads") > 3
        assert any(name.endswith("complete.json") for name in disk.seen)
        # On a file system without hard links, which is another way to the same promise.
        recorder = Recorder(tmp_path, "-e inject=link,linkat:error=EPERM")
        deploy.deploy(recorder.shell, second, options, lambda _: None)
        disk.play(recorder.log)
        assert disk.seen.count("current") == 4
        assert disk.faults == []
        assert disk.missing(str(root / "current")) == disk.missing(str((root / "current").resolve())) == []
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_what_was_sent_for_a_run_is_on_the_disk(prepared: Path, first: Path, tmp_path: Path) -> None:
    root = prepared.with_name("recorded")
    disk = Disk(root=str(root))
    try:
        recorder = Recorder(tmp_path)
        with Session(recorder.shell, folder=str(root)) as session:
            path = session.upload(first, deploy.check_artefact(first), where="cache", suffix=".tflite")
        disk.play(recorder.log)
        assert path in disk.contents and disk.seen == ["cache"]
        assert disk.faults == []
    finally:
        shutil.rmtree(root, ignore_errors=True)
