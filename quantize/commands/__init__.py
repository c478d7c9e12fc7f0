"""The commands of the workstation: each a module with ``add_parser``, and the flags that several share.

May use: every room of `quantize`, and `edge`, inside ``run``, so that ``--help`` is instant (for quantize
0.5 s of processor time in a fresh process, and then TensorFlow's seconds).
Read first: quantize.py, then source_flags.py.
"""

# Name -> module, in the order of the work. Known here too so that they run from a bare checkout, and without a scan of everything that
# is installed; a test compares them with the entry points in pyproject.toml.
COMMANDS = {
    "ship": "quantize.commands.ship",
    "quantize": "quantize.commands.quantize",
    "qat": "quantize.commands.qat",
    "explain": "quantize.commands.explain",
    "tune": "quantize.commands.tune",
    "shrink": "quantize.commands.shrink",
    "import": "quantize.commands.import_model",
    "fetch": "quantize.commands.fetch",
    "demo": "quantize.commands.demo",
}

# Those whose runs are remembered (`edgekit runs`).
REMEMBERED = ("ship", "quantize", "qat", "explain", "tune", "shrink", "import", "fetch")
