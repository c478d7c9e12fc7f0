"""MkDocs hooks: what the program itself knows is taken from it while the site is built, so that no page can be out of step.

- ``<!-- help -->`` on a command's page becomes its options, as tables of what ``--help`` says, and ``<!-- settings -->`` those of
  ``edgekit.toml`` (``option_tables.py``).
- A Mermaid diagram becomes its picture, so that no page needs Mermaid's script (``draw_diagrams.py`` draws them).
- ``<!-- api: PACKAGE -->`` becomes an entry for every public name of the package.
- The navigation lists every command, in the order of the work, and every page that nobody has put anywhere.
- ``CHANGELOG.md``, which lies above ``docs/``, becomes a page.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from edge.cli import COMMANDS

HELP = "<!-- help -->"
SETTINGS = "<!-- settings -->"
CHANGELOG = "changelog.md"
_API = re.compile(r"<!-- api: (\w+) -->")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#\s]+)(?:#[^)]*)?\)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")


def on_config(config: Any) -> Any:
    """Fill the navigation."""
    docs = Path(config["docs_dir"])
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Commands" in entry:
            entry["Commands"] = [{name: f"commands/{name}.md"} for name in COMMANDS]
    named = set(_named(config["nav"]))
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Guides" in entry:
            entry["Guides"] += sorted(page.name for page in docs.glob("*.md") if page.name not in named)
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Add the changelog."""
    from mkdocs.structure.files import File

    text = (Path(config["docs_dir"]).parent / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, CHANGELOG, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Fill in options and API, and turn links to files beside the site into their names."""
    folder, _, name = page.file.src_uri.rpartition("/")
    if folder == "commands":
        command = name.removesuffix(".md")
        if HELP not in markdown:
            raise ValueError(f"{page.file.src_uri}: has no {HELP}")
        markdown = markdown.replace(HELP, _beside("option_tables").of_command(command))
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, _beside("option_tables").of_settings())
    markdown = _API.sub(lambda found: "\n\n".join(f"::: {found[1]}.{name}" for name in public_names(found[1])), markdown)
    markdown = _separate_lists(markdown)
    markdown = with_pictures(markdown, page.file.src_uri)
    depth = page.file.src_uri.count("/")
    return _OUTSIDE.sub(lambda found: found[0] if _inside(found[0], depth) else f"`{found[2]}`", markdown)


def with_pictures(markdown: str, page: str) -> str:
    """Put the picture of each Mermaid diagram into the page, in the place of its code."""
    diagrams = _beside("draw_diagrams")
    number = 0

    def picture(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        path = diagrams.picture_of(page, number)
        svg = path.read_text(encoding="utf-8") if path.exists() else ""
        if diagrams.digest(found[1]) not in svg:
            raise ValueError(f"{page}: its diagram {number} is not the one in {path.name}; draw it with: make diagrams")
        return f'<figure class="diagram">\n{svg}</figure>\n'

    return str(diagrams.BLOCK.sub(picture, markdown))


def _beside(name: str) -> ModuleType:
    """Import a module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _separate_lists(markdown: str) -> str:
    """Put an empty line before a list that follows text, as Python-Markdown wants it and other readers do not."""
    lines: list[str] = []
    in_code = False
    for line in markdown.split("\n"):
        in_code ^= line.lstrip().startswith("```")
        previous = lines[-1] if lines else ""
        if not in_code and _ITEM.match(line) and previous.strip() and not _ITEM.match(previous) and not previous.startswith(" "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def public_names(package: str) -> list[str]:
    """Return the names that a package exports: functions and types first, errors last."""
    names = [name for name in importlib.import_module(package).__all__ if not name.startswith("_")]
    return sorted(names, key=lambda name: (name.endswith("Error"), name[0].isupper(), name))


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    if isinstance(nav, dict):
        return [page for part in nav.values() for page in _named(part)]
    return [page for part in nav for page in _named(part)]


def _inside(link: str, depth: int) -> bool:
    """Whether a link with ``../`` stays within docs/, seen from a page so many folders deep."""
    return link.count("../") <= depth
