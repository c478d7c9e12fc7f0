"""Writes the man pages: edgekit(1), and one for each command (edgekit-quantize(1)), of the same definitions as ``--help``.

make man && man build/man/edgekit-quantize.1
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

from edge.cli import COMMANDS, build_parser
from edge.commands.parsing import STAGES
from edge.version import __version__


def write(folder: Path) -> list[Path]:
    """Write all pages into ``folder``, which is made, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["COLUMNS"] = "100"
    root = build_parser()
    commands = _commands(root)
    helps = {entry.dest: entry.help or "" for entry in commands._get_subactions()}
    written = [_page(folder / f"edgekit-{name}.1", commands.choices[name], helps[name]) for name in COMMANDS]
    # The page of everything names the commands; what each can do is on its own page.
    root._actions.remove(commands)
    for group in root._action_groups:
        group._group_actions = [action for action in group._group_actions if action is not commands]
    listed = "".join(
        f".SS {stage}\n" + "".join(f".TP\n.BR edgekit\\-{name} (1)\n{_plain(helps[name])}\n" for name in names)
        for stage, names in STAGES.items()
    )
    what = "int8 for trained image models, on boards, with the accuracy that it cost"
    return [_page(folder / "edgekit.1", root, what, f".SH COMMANDS\n{listed}"), *written]


def _commands(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return found


def _page(path: Path, parser: argparse.ArgumentParser, said: str, more: str = "") -> Path:
    """Write one page; ``said`` is what the command does in a few words, ``more`` is roff.

    The examples are a section of their own, as they stand.
    """
    examples, parser.epilog = parser.epilog or "", None
    page = Manpage(parser, _data={"project_name": "edgekit", "version": __version__, "manual_title": "edgekit"})
    # `man -k` and `whatis` want "name \\- what it does".
    text = re.sub(r"\.SH NAME\n.*\n", lambda _: f".SH NAME\n{path.stem} \\- {_plain(said)}\n", str(page), count=1)
    text = text.replace(f".TH {parser.prog.upper()} ", f'.TH "{path.stem.upper()}" ', 1)
    text = re.sub(r"^'", r"\\&'", text, flags=re.MULTILINE)  # a request, to roff
    text = text.rstrip("\n") + f"\n\n{more}"
    if examples:
        title, _, rest = examples.partition(":\n")
        text = text.rstrip("\n") + f"\n\n.SH {title.upper()}\n.nf\n{_plain(rest)}\n.fi\n"
    path.write_text(text, encoding="utf-8")
    return path


def _plain(text: str) -> str:
    """Return text that roff prints as it is."""
    return re.sub(r"^([.'])", r"\\&\1", text.rstrip().replace("\\", "\\\\").replace("-", "\\-"), flags=re.MULTILINE)


if __name__ == "__main__":
    pages = write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/man"))
    print(f"{len(pages)} pages: man {pages[0]}")
