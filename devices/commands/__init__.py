"""The commands that work on boards, and what they share: targets, one result or a table of them, exit codes.

May use: every room of `devices`; `on_board` inside ``run``, as each command with ``--on`` imports it (0.13 s of processor time).
Read first: common.py, then deploy.py.
"""

# Name -> module, in the order of the work. Known here too so that they run from a bare checkout, and without a scan of everything that
# is installed; a test compares them with the entry points in pyproject.toml.
COMMANDS = {
    "boards": "devices.commands.boards",
    "doctor": "devices.commands.doctor",
    "deploy": "devices.commands.deploy",
    "status": "devices.commands.status",
    "rollback": "devices.commands.rollback",
    "undeploy": "devices.commands.undeploy",
    "virtual": "devices.commands.virtual",
}

# Those whose runs are remembered (`edgekit runs`).
REMEMBERED = ("deploy",)

# Those of the runtime that can also be carried out on a board (`--on TARGET`), by `on_board`.
ON_BOARD = ("validate", "benchmark", "selftest")
