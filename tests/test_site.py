"""The documentation site: in step with the program, complete, and free of requests to anybody."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from edge.cli import COMMANDS, main
from edge.commands.parsing import FIRST
from edge.project.settings import SETTINGS

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
HELP = "<!-- help -->"
SVG = "{http://www.w3.org/2000/svg}"


def module_of_docs(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return module_of_docs("site_hooks")


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert {page.stem for page in (DOCS / "commands").glob("*.md")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_page_shows_its_options_and_an_example(name: str) -> None:
    text = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# edgekit {name}\n") and text.count(HELP) == 1
    assert re.search(rf"^\$ (sudo )?edgekit {name}\b", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_a_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = module_of_docs("option_tables").of_command(name)
    assert f"usage: edgekit {name}" in text
    with pytest.raises(SystemExit):
        main([name, "--help-all" if name in FIRST else "--help"])
    text_of_help = capsys.readouterr().out.partition("\nexamples")[0]
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text_of_help)) - {"--help", "--help-all"}
    rows = [line for line in text.splitlines() if line.startswith("| <code>")]
    assert flags <= set(re.findall(r"--[a-z][a-z-]+", "\n".join(rows)))
    # A cell that is cut by a bar, or taken for emphasis, is no sentence any more.
    assert all(line.count("|") == 3 and not re.search(r"[`*_\[\]]", line.replace("**Required.**", "")) for line in rows)
    blocks = re.findall(r"```text\n(.*?)\n```", text, re.DOTALL)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 96


def test_every_setting_is_in_the_table() -> None:
    rows = module_of_docs("option_tables").of_settings().splitlines()[2:]
    assert len(rows) == len(SETTINGS) and all(line.count("|") == 6 for line in rows)


def test_the_api_pages_list_what_the_packages_export(hooks: ModuleType) -> None:
    import edge

    names = hooks.public_names("edge")
    assert set(names) == {name for name in edge.__all__ if not name.startswith("_")}
    assert names.index("load") < names.index("Model") < names.index("EdgeError")


def test_a_list_after_text_gets_the_line_that_markdown_wants(hooks: ModuleType) -> None:
    text = "Limits:\n- one\n- two\n```\ntext\n- code\n```"
    assert hooks._separate_lists(text) == "Limits:\n\n- one\n- two\n```\ntext\n- code\n```"


def test_parameters_in_a_paragraph_become_a_list() -> None:
    pytest.importorskip("griffe")
    module = module_of_docs("site_griffe")
    paragraph = "threads: default all; at most 4.\n    low, high: the bounds. Note: not a name. Raises OSError if not."
    assert module.as_list(paragraph, {"threads", "low", "high"}) == (
        "- `threads`: default all; at most 4.\n- `low`, `high`: the bounds. Note: not a name.\n\nRaises OSError if not."
    )
    assert module.as_list("Formula: a / b.", {"threads"}) == "Formula: a / b."


def test_every_diagram_has_the_picture_of_its_code(hooks: ModuleType) -> None:
    diagrams = module_of_docs("draw_diagrams")
    drawn = set()
    for page in DOCS.rglob("*.md"):
        text, name = page.read_text(encoding="utf-8"), page.relative_to(DOCS).as_posix()
        shown = hooks.with_pictures(text, name)
        assert "```mermaid" not in shown
        for number, code in enumerate(diagrams.codes(text), start=1):
            picture = diagrams.picture_of(name, number)
            drawn.add(picture)
            # What stands in the boxes of the code stands in the picture, and nothing in it comes from elsewhere.
            svg = ElementTree.parse(picture).getroot()
            assert set(re.findall(r"\[([^\]]+)\]", code)) <= {"".join(box.itertext()) for box in svg.iter(f"{SVG}text")}
            said = picture.read_text(encoding="utf-8")
            targets = re.findall(r"""(?:href|src)=["']([^"']*)|url\(["']?([^)"']*)""", said)
            assert targets and all("".join(target).startswith("#") for target in targets) and "<script" not in said
            assert said in shown
    assert drawn and drawn == set((DOCS / "assets").glob("*.svg"))


def test_a_diagram_without_its_picture_stops_the_site(hooks: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"architecture.md: its diagram 1 is not the one in architecture-1.svg.*make diagrams"):
        hooks.with_pictures("```mermaid\nflowchart TD\n  a --> b\n```\n", "architecture.md")


def built_links(site: Path) -> Iterator[tuple[str, str]]:
    """What a browser fetches by itself: scripts, styles, images, frames, fonts."""
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8")):
            if re.search(r'rel="?(?:canonical|next|prev)', tag):
                continue
            for target in re.findall(r'(?:src|href)="?([^"\s>]+)', tag):
                yield str(page.relative_to(site)), target
    for style in site.rglob("*.css"):
        for target in re.findall(r"url\((?!data:)[\"']?([^)\"']+)", style.read_text(encoding="utf-8")):
            yield style.name, target


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocstrings") is None, reason="the [docs] extra is not installed")
def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = tmp_path / "site"
    links = list(built_links(site))
    assert len(links) > 100
    assert [(page, target) for page, target in links if re.match(r"(?:https?:)?//", target)] == []
    for name in COMMANDS:
        page = (site / "commands" / f"{name}.html").read_text(encoding="utf-8")
        assert f"usage: edgekit {name}" in page and HELP not in page
    architecture = (site / "architecture.html").read_text(encoding="utf-8")
    assert "data-code-sha256" in architecture and "flowchart TD" not in architecture
    assert "Keep a Changelog" in (site / "changelog.html").read_text(encoding="utf-8")
    assert 'id="edge.load"' in (site / "api" / "edge.html").read_text(encoding="utf-8")
    assert 'id="quantize.post_training"' in (site / "api" / "quantize.html").read_text(encoding="utf-8")
