"""``edgekit completion SHELL``: prints what makes a shell complete commands, flags and files."""

from __future__ import annotations

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "fish")

_EXAMPLES = """\
examples:
  edgekit completion bash > ~/.local/share/bash-completion/completions/edgekit
  edgekit completion zsh > ~/.zfunc/_edgekit         (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  edgekit completion fish > ~/.config/fish/completions/edgekit.fish

It holds for new shells. Print it again after an update of edgekit.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete edgekit's commands, flags and files",
        description="Print the completion script of a shell, made by shtab of the same definitions as --help.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    parser: argparse.ArgumentParser = args.build_parser()
    _complete_files(parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY})
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Let what ``--help`` calls a file, folder, picture or model be completed from the disk."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, kinds)
            continue
        name = str(action.metavar or "")
        if action.choices is None and any(word in name for word in ("FILE", "CSV", "MODEL", "SOURCE", "IMAGE", "RUN")):
            action.complete = kinds["FILE"]  # type: ignore[attr-defined]  # shtab looks for it
        elif action.choices is None and "DIR" in name:
            action.complete = kinds["DIR"]  # type: ignore[attr-defined]
