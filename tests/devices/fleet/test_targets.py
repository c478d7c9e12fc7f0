from __future__ import annotations

from pathlib import Path

import pytest

from devices.errors import TargetError
from devices.fleet import fleet, targets
from devices.transport.ssh import SshTarget


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("raspberrypi.local", None, "raspberrypi.local", None),
        ("pi@raspberrypi", "pi", "raspberrypi", None),
        ("pi@10.0.0.7:2222", "pi", "10.0.0.7", 2222),
        ("[::1]:2222", None, "::1", 2222),
        ("pi@[fe80::1%eth0]", "pi", "fe80::1%eth0", None),
        ("my-alias_7", None, "my-alias_7", None),
    ],
)
def test_ssh_targets(text: str, user: str | None, host: str, port: int | None) -> None:
    found = targets.parse(text)
    assert isinstance(found, SshTarget)
    assert (found.user, found.host, found.port, found.text) == (user, host, port, text)


def test_the_other_forms() -> None:
    assert targets.parse("local") == "local"
    assert targets.parse("virtual:desk") == "virtual:desk"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-oProxyCommand=touch",
        "pi@-oProxyCommand=x",
        "-pi@host",
        "a b",
        "host:0",
        "host:65536",
        "host:x",
        "a@b@c",
        "$(id)@host",
    ]
    + ["host;id", "`id`", "host\n", "virtual:", "ho\0st", "[::1", "pi@", "host:22:23", "h|o", "user'name@host"],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        targets.parse(text)


def test_an_inventory_lists_targets(tmp_path: Path) -> None:
    inventory = tmp_path / "boards.toml"
    inventory.write_text('targets = ["pi@kitchen", "pi@garden:2222"]\n')
    assert fleet.expand([f"@{inventory}", "local"]) == ("pi@kitchen", "pi@garden:2222", "local")


@pytest.mark.parametrize("text", ["", "targets = []", "targets = [1]", 'targets = "pi"', "targets = ["])
def test_an_inventory_that_is_none(tmp_path: Path, text: str) -> None:
    inventory = tmp_path / "boards.toml"
    inventory.write_text(text)
    with pytest.raises(TargetError, match="boards.toml"):
        fleet.expand([f"@{inventory}"])


def test_a_missing_inventory_and_a_board_named_twice() -> None:
    with pytest.raises(TargetError, match="no inventory"):
        fleet.expand(["@/no/such/file.toml"])
    with pytest.raises(TargetError, match="named twice"):
        fleet.expand(["pi@a", "local", "pi@a"])
