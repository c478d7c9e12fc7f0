"""The commands of the runtime: each a module with ``add_parser``, and the flags that several share.

May use: every room of `edge`, inside ``run``, so that ``--help`` is instant (for validate 0.3 s of processor time in a fresh process).
Read first: validate.py, then model_flags.py.
"""

# Name -> module, in the order of the work; `workstation` has those that no board gets. Known here too so that they run from a bare
# checkout, and without a scan of everything that is installed; a test compares them with the entry points in pyproject.toml.
COMMANDS = {
    "inspect": "edge.commands.inspect",
    "relabel": "edge.commands.relabel",
    "classify": "edge.commands.classify",
    "watch": "edge.commands.watch",
    "validate": "edge.commands.validate",
    "compare": "edge.commands.compare",
    "benchmark": "edge.commands.benchmark",
    "throughput": "edge.commands.throughput",
    "selftest": "edge.commands.selftest",
    "outputs": "edge.commands.outputs",
}

# Those whose runs are remembered (`edgekit runs`).
REMEMBERED = ("validate", "benchmark", "selftest")
