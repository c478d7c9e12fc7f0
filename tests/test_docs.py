"""The documentation against the program: what is written must exist, and what exists must be written about."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli import COMMANDS, build_parser, main

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
PAGE_IDS = [str(page.relative_to(REPOSITORY)) for page in PAGES]


def code_blocks(text: str) -> Iterator[str]:
    for language, block in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if language in ("", "console", "sh", "bash", "text"):
            yield block


def command_lines(text: str) -> Iterator[str]:
    """Lines that call edgekit, continued lines joined, the prompt and any trailing remark removed; none that a project file completes."""
    lines = text.replace("\\\n", " ").splitlines()
    for line, answer in zip(lines, [*lines[1:], ""], strict=True):
        line = line.strip().removeprefix("$ ").removeprefix("sudo ")
        if line.startswith("edgekit ") and not answer.startswith("edgekit.toml: "):
            yield re.split(r"\s{3,}(?![-\w./]*\.(?:keras|tflite|h5))[^-\s]|\s#\s", line)[0].strip()


def accepts(line: str) -> bool:
    """Whether the command line parses."""
    argv = shlex.split(line)[1:]
    argv = argv[: argv.index(">")] if ">" in argv else argv
    if argv[0] in ("--help", "--version", "-V"):
        return True
    try:
        build_parser(argv[0]).parse_args(argv)
    except SystemExit as left:
        return left.code == 0  # --help inside a command
    return True


def help_text(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    return capsys.readouterr().out


def documented_command_lines() -> list[tuple[str, str]]:
    return [
        (page.name, line)
        for page in PAGES
        for block in code_blocks(page.read_text(encoding="utf-8"))
        for line in command_lines(block)
    ]


def test_there_is_something_to_check() -> None:
    assert len(PAGES) >= 8
    assert len(documented_command_lines()) >= 10


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    page = (REPOSITORY / "docs" / "all-commands.md").read_text(encoding="utf-8")
    assert f"[`edgekit {name}`](commands/{name}.md)" in page


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize(("page", "line"), documented_command_lines())
def test_documented_command_lines_parse(page: str, line: str) -> None:
    name = shlex.split(line)[1]
    assert name.startswith("-") or name in COMMANDS, f"{page}: {line}"
    assert accepts(line), f"{page}: {line}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_the_help_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in command_lines(help_text(name, capsys)) if line.split()[1] == name]
    assert lines
    for line in lines:
        assert accepts(line), line


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    broken = [target for target in targets if target and not (page.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_of_ours_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:edge|quantize|devices)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_what_the_python_on_a_page_imports_exists(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("edge", "quantize"):
                assert hasattr(importlib.import_module(node.value.id), node.attr), f"{node.value.id}.{node.attr}"


def test_the_readme_leads_to_every_page() -> None:
    """Straight, or by way of the first page of the site."""
    readme, index = (REPOSITORY / name for name in ("README.md", "docs/index.md"))
    led_to = set(re.findall(r"\]\(docs/([^)#]+)", readme.read_text(encoding="utf-8")))
    assert index.name in led_to
    led_to |= set(re.findall(r"\]\(([^)#]+)", index.read_text(encoding="utf-8")))
    assert [page.name for page in (REPOSITORY / "docs").glob("*.md") if page.name not in led_to] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_make_targets_exist(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)`", page.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_python_on_the_first_page_is_the_example() -> None:
    page = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    example = (REPOSITORY / "examples" / "quickstart.py").read_text(encoding="utf-8")
    body = [
        line.strip()
        for line in example.splitlines()
        if re.match(r"\s+(source|photos|variants|float32, int8|deployed|report) = ", line)
    ]
    assert len(body) == 6
    for line in body:
        assert line in page, line


def test_no_page_is_left_with_a_placeholder() -> None:
    lines = [(page, number, line) for page in PAGES for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)]
    left = [f"{page.name}:{number}" for page, number, line in lines if "TODO" in line]
    assert left == []
