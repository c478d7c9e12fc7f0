"""``edgekit fetch``: published weights, downloaded once and verified."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Download published weights into the cache (EDGEKIT_HOME, else ~/.cache/edgekit) and verify them. An interrupted download goes on
where it stopped. Where no hash is published, the first one seen is kept and shown, and any other one later is an error. Archives
are unpacked: plain files only, none outside of their folder. Without a network, download the file elsewhere and give it with
--from.
"""

EXAMPLES = """\
examples:
  edgekit fetch                                        what there is
  edgekit fetch keras-inception-resnet-v2
  edgekit fetch inception-resnet-v2-tf --from inception_resnet_v2_2018_04_27.tgz
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from edge.commands import output_flags

    parser = subparsers.add_parser(
        "fetch",
        help="download published InceptionResNetV2 weights, resumed and verified",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the catalogue; without it, the catalogue is shown")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="a local copy of the file, instead of a download"
    )
    parser.add_argument(
        "--accept-new", action="store_true", help="where no hash is published: forget the first one seen, and keep the new one"
    )
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch, or list."""
    from dataclasses import asdict

    from edge.commands import output_flags

    from ..fetch import catalogue, fetch

    if args.name is None:
        report = {"catalogue": [asdict(entry) for entry in catalogue.ENTRIES]}
        output_flags.emit(args, report, "\n".join(_entry(entry) for entry in catalogue.ENTRIES))
        args.report = None  # a look, no work that the history remembers
        return 0
    entry = catalogue.get(args.name)
    found = fetch.fetch(entry, source=args.source, accept_new=args.accept_new)
    report = {key: _plain(value) for key, value in asdict(found).items()}
    output_flags.emit(args, report, _text(found, entry))
    return 0


def _entry(entry: Any) -> str:
    size = f"{entry.size:,} bytes" if entry.size is not None else "size not published"
    known = f"{entry.algorithm} {entry.digest} ({entry.hash_source})" if entry.digest is not None else "no hash published"
    return "\n".join([entry.name, f"  {entry.what}", *(f"  {url}" for url in entry.urls), f"  {size}, {known}"])


def _text(found: Any, entry: Any) -> str:
    lines = [f"{found.file}: {found.bytes:,} bytes, {'new' if found.fresh else 'was there already'}", f"  sha256 {found.sha256}"]
    lines.append(f"  verified by {found.verified}")
    lines += [f"  {file}" for file in found.files if file != found.file]
    return "\n".join([*lines, f"next: {entry.then.format(file=found.use)}"])


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value) if isinstance(value, Path) else value
