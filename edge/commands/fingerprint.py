"""``python -m edge.commands.fingerprint``: what a model answers here, as bits. `devices` asks for it on boards; no command lists it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ..data.dataset import LabelledImages
from ..errors import EdgeError, UsageError
from ..validation import fingerprint
from . import model_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Print a fingerprint. Flags of other commands are ignored: `devices` passes on what it was given."""
    parser = argparse.ArgumentParser(prog="edge.commands.fingerprint", description=__doc__, allow_abbrev=False)
    parser.add_argument("file")
    parser.add_argument("--images", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--ops", action="store_true")
    parser.add_argument("--follow-links", action="store_true")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    args, _ = parser.parse_known_args(argv)
    try:
        images = LabelledImages.open(args.images, unlabelled=True, follow_links=args.follow_links)
        images = images if args.limit is None else images.subset(args.limit)
        found = fingerprint.take(model_flags.load(args), images, ops=args.ops)
        if not found["images"]:
            raise UsageError(f"{args.images}: none of the {len(images)} images can be read")
    except EdgeError as error:
        print(f"edgekit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    json.dump(found, sys.stdout, separators=(",", ":"))
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
