"""The library of the Edge TPU where it is missing, none, or breaks."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.errors import InterpreterError
from edge.runtime import edgetpu as edgetpu_runtime
from edge.runtime.loading import load


def test_a_library_that_is_none_is_found_out_in_another_process(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "libedgetpu.so.1"
    broken.write_bytes(b"no library")
    with pytest.raises(InterpreterError, match="libedgetpu"):
        edgetpu_runtime.try_out(small_artefacts["int8"], str(broken))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_that_takes_the_process_down_is_survived(small_artefacts: dict[str, Path], tmp_path: Path) -> None:
    source, library = tmp_path / "crash.c", tmp_path / "libedgetpu.so.1"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with pytest.raises(InterpreterError, match="takes the interpreter down .SIGABRT.*feranick.*edgekit doctor"):
        edgetpu_runtime.try_out(small_artefacts["int8"], str(library))


@pytest.mark.skipif(ctypes.util.find_library("edgetpu") is not None, reason="libedgetpu is installed here")
def test_without_libedgetpu_one_sentence_says_what_to_install(small_artefacts: dict[str, Path]) -> None:
    with pytest.raises(InterpreterError, match="libedgetpu is not installed.*feranick"):
        load(small_artefacts["int8"], delegate="edgetpu")
