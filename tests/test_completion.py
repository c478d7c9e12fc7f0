"""Shell completion and man pages: made of the same definitions as --help, and taken by the shell and by man."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.cli import COMMANDS, main
from edge.commands.workstation.completion import SHELLS
from tests.test_site import module_of_docs


def completed(script: Path, *words: str, folder: Path) -> set[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {script}; cd {folder}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1};"
        ' "$(complete -p edgekit | grep -o "_shtab[a-z_]*")"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


def test_bash_completes_commands_flags_values_and_files(script: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "photos").mkdir(parents=True)
    (here / "flowers.keras").touch()
    assert completed(script, "edgekit", "", folder=here) >= set(COMMANDS)
    assert completed(script, "edgekit", "quan", folder=here) == {"quantize"}
    assert completed(script, "edgekit", "quantize", "--imag", folder=here) == {"--images"}
    assert completed(script, "edgekit", "quantize", "--io", "", folder=here) >= {"int8", "uint8", "float32"}
    assert "flowers.keras" in completed(script, "edgekit", "quantize", "flo", folder=here)
    assert "photos" in {word.rstrip("/") for word in completed(script, "edgekit", "quantize", "--out", "ph", folder=here)}
    assert completed(script, "edgekit", "virtual", "st", folder=here) == {"start", "stop"}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_takes_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert all(command in path.read_text(encoding="utf-8") for command in COMMANDS)
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}")
    assert subprocess.run([program, "-n", str(path)], capture_output=True, text=True, check=True).stderr == ""


def test_every_command_has_a_man_page(tmp_path: Path) -> None:
    pages = module_of_docs("man_pages").write(tmp_path)
    assert {page.name for page in pages} == {"edgekit.1", *(f"edgekit-{command}.1" for command in COMMANDS)}
    groff = shutil.which("groff")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert f".SH NAME\n{page.stem} \\- " in text and ".SH EXAMPLES" in text + ".SH EXAMPLES" * (page.stem == "edgekit")
        if groff is not None:
            shown = subprocess.run([groff, "-man", "-ww", "-Tutf8", str(page)], capture_output=True, text=True, check=True)
            assert "edgekit" in shown.stdout and shown.stderr == "", shown.stderr
