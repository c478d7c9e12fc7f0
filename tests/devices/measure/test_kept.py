"""What a board keeps for measuring: pictures by their content, compared before they are used, and no more than it should."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.errors import BoardConnectionError, BoardRefusedError, DeviceError, RemoteError
from devices.measure import digests, images
from devices.transport import room
from devices.transport.local import LocalShell
from devices.transport.session import Session
from devices.transport.shell import Shell
from devices.transport.ssh import SshShell, SshTarget
from edge.cli import main

Disk = Callable[[str], Path]
ONCE = "once on an emulated board is enough: test_only_new_content_is_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder on a target for one test, empty at first. ``here``: as this machine sees it."""

    shell: Shell
    there: str
    here: Path

    @contextlib.contextmanager
    def session(self) -> Iterator[Callable[[Path], tuple[Path, str]]]:
        """A session, as a function: send the pictures of a folder, and return where they are for this machine, and what was said."""
        with Session(self.shell, folder=self.there) as session:
            room.tidy(session, "none", room.cap_bytes())

            def send(folder: Path) -> tuple[Path, str]:
                said: list[str] = []
                path = images.send(session, images.listed(folder, None), said.append)
                room.trim(session)
                return self.here / Path(path).relative_to(self.there), " ".join(said)

            yield send

    def send(self, folder: Path) -> tuple[Path, str]:
        """Do it in a session of its own."""
        with self.session() as send:
            return send(folder)

    @property
    def pictures(self) -> set[str]:
        return {path.name for path in (self.here / "cache/images").rglob("*") if path.is_file()}


@pytest.fixture
def place(target: object) -> Iterator[Place]:
    from tests.devices.conftest import Target

    assert isinstance(target, Target)
    found = Place(shell=target.connect(), there=f"{target.there}/kept größe", here=target.place("kept größe"))
    yield found
    found.shell.close()
    shutil.rmtree(found.here, ignore_errors=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in two classes; two of them have one content."""
    made(tmp_path / "photos/cat/1.png", 1000)
    made(tmp_path / "photos/cat/größe 2.png", 0)
    made(tmp_path / "photos/dogs.data/1.png", 2000)
    shutil.copy(tmp_path / "photos/cat/1.png", tmp_path / "photos/dogs.data/2.png")
    return tmp_path / "photos"


def made(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """What a validation is resumed by."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_only_new_content_is_sent(place: Place, photos: Path) -> None:
    sent, said = place.send(photos)
    assert "sending 3 of 4 images" in said and contents(sent) == contents(photos)
    before = stamps(sent)
    for path in photos.rglob("*.png"):
        os.utime(path, (1, 1))
    sent, said = place.send(photos)
    assert said == "" and stamps(sent) == before
    with place.session() as send:
        (photos / "cat").rename(photos / "lion")
        made(photos / "lion/3.png", 500)
        sent, said = send(photos)
        assert "sending 1 of 5 images" in said and contents(sent) == contents(photos)
        (photos / "lion/3.png").unlink()
        sent, said = send(photos)
        assert said == "" and contents(sent) == contents(photos)
    assert [path.name for path in sent.parent.iterdir()] == [sent.name]  # the names of one run, and of no earlier one
    damaged = max(place.here.glob("cache/images/*/*"), key=lambda path: path.stat().st_size)
    status, data = damaged.stat(), bytearray(damaged.read_bytes())
    data[100] ^= 1
    with damaged.open("r+b") as stream:
        stream.write(data)
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    sent, said = place.send(photos)
    assert "sending 1 of 4 images" in said and contents(sent) == contents(photos)


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_the_same_with_a_manifest(place: Place, photos: Path) -> None:
    listed = photos / "list.csv"
    listed.write_text("path,label\ncat/1.png,cat\ndogs.data/1.png,dog\n", "utf-8")
    for said in ("sending 2 of 2 images", ""):
        manifest, heard = place.send(listed)
        assert said in heard and bool(said) is bool(heard)
        assert manifest.read_text("utf-8") == listed.read_text("utf-8")
        assert (manifest.parent / "cat/1.png").read_bytes() == (photos / "cat/1.png").read_bytes()


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_many_names_of_one_content(place: Place, tmp_path: Path) -> None:
    one = made(tmp_path / "photos/0.png", 100)
    for number in range(1, 2001):
        os.link(one, one.with_name(f"{number}.png"))
    sent, said = place.send(one.parent)
    assert "comparing 2,001 images" in said and "sending 1 of 2001 images" in said
    assert len(list(sent.iterdir())) == 2001 and len(place.pictures) == 1


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_what_arrived_before_an_interruption_stays(place: Place, tmp_path: Path) -> None:
    files = [made(tmp_path / f"photos/{number}.png", 3 << 20) for number in range(3)]
    for change, words in ((lambda path: path.write_bytes(b"new"), "changed while"), (Path.unlink, "cannot be read")):
        data = files[2].read_bytes()
        with Session(place.shell, folder=place.there) as session, pytest.raises(DeviceError, match=words) as caught:
            images.send(session, images.listed(files[0].parent, None), lambda _, change=change: change(files[2]))  # type: ignore[misc]
        assert caught.value.exit_code == 2 and len(place.pictures) == 2
        files[2].write_bytes(data)
    sent, said = place.send(files[0].parent)
    assert "sending 1 of 3 images" in said and contents(sent) == contents(files[0].parent)


@pytest.mark.targets("ssh", why="there is no link to this machine; an emulated board's cut link is tested in test_interrupted")
def test_a_large_picture_goes_on_where_the_link_was_cut(cable: Callable[[int], SshTarget], place: Place, tmp_path: Path) -> None:
    made(tmp_path / "photos/large.tif", 10 << 20)
    shell = SshShell(cable(6_000_000))
    with pytest.raises(BoardConnectionError), Session(shell, folder=place.there) as session:
        images.send(session, images.listed(tmp_path / "photos", None), lambda _: None)
    shell.close()
    (part,) = place.here.glob("cache/*.part")
    assert part.stat().st_size >= 4 << 20
    sent, _ = place.send(tmp_path / "photos")
    assert contents(sent) == contents(tmp_path / "photos") and not part.exists()


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_the_cap_takes_what_was_not_used_for_longest(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(room.CAP_VARIABLE, "2")
    for name, size in (("a", 700_000), ("b", 700_000), ("c", 900_000), ("d", 3 << 20)):
        made(tmp_path / name / "1.png", size)
    with place.session() as send:
        for name in ("a", "b", "a", "c"):
            send(tmp_path / name)
        assert place.pictures == {digests.of_file(tmp_path / name / "1.png")[0] for name in ("a", "c")}
    for said in ("sending 1 of 1", ""):
        sent, heard = place.send(tmp_path / "d")  # more than the cap, and needed: it stays for the next run too
        assert said in heard and bool(said) is bool(heard)
        assert contents(sent) == contents(tmp_path / "d") and len(place.pictures) == 1


def record(release: Path, *, environment: str) -> None:
    """Write what a deployment writes about a release, as far as it matters here."""
    about = {"id": release.name, "sha256": "0" * 64, "environment": environment, "previous": None}
    (release / "release.json").write_text(json.dumps(about))


def test_a_cap_that_is_no_number(first: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("2 GiB", "-1", "²"):
        monkeypatch.setenv(room.CAP_VARIABLE, value)
        with pytest.raises(DeviceError, match="expected a whole number of MiB") as caught:
            room.cap_bytes()
        assert caught.value.exit_code == 2
    assert main(["selftest", str(first), "--on", "local", "--folder", "/nonexistent/of nobody"]) == 2
    assert "EDGEKIT_BOARD_CACHE_MIB is '²'" in capsys.readouterr().err


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_what_is_of_no_use_goes_when_something_is_measured(place: Place, tmp_path: Path) -> None:
    cache, long_ago = place.here / "cache", time.time() - 8 * 86400
    with Session(place.shell, folder=place.there) as session:
        sent = session.upload(made(tmp_path / "wheel", 10), digests.of_file(tmp_path / "wheel")[0])
        for name in ("used", "released", "linked", "unused", "lately"):
            made(place.here / f"env/{name}/complete.json", 2)
            made(place.here / f"wheels/of-{name}/complete.json", 2)
            (place.here / f"env/{name}/wheels").symlink_to(f"../../wheels/of-{name}")
        made(place.here / "releases/0001-a/live", 0)
        made(place.here / "releases/0002-b/live", 0).with_name("env").symlink_to("../../env/linked")  # its record is lost
        record(place.here / "releases/0001-a", environment="released")
        made(cache / "images-0123456789abcdef/cat/1.png", 10)  # as it was kept before
        for path in (cache / "report-1.json", cache / "old.part", cache / "new.part", place.here / "uploads/old.part"):
            made(path, 10)
        for path in (*place.here.glob("*/*/complete.json"), cache / "old.part", place.here / "uploads/old.part"):
            if path.parent.name not in ("lately", "of-lately"):
                os.utime(path, (long_ago, long_ago))
        room.tidy(session, "used", None)
    assert {path.name for path in (place.here / "env").iterdir()} == {"used", "released", "linked", "lately"}
    assert {path.name for path in (place.here / "wheels").iterdir()} == {"of-used", "of-released", "of-linked", "of-lately"}
    assert {path.name for path in cache.iterdir()} == {"new.part"}
    assert not (place.here / Path(sent).relative_to(place.there)).exists() and not list((place.here / "uploads").iterdir())
    assert (place.here / "env/used/complete.json").stat().st_atime > long_ago + 86400


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_what_the_card_cannot_read_any_more_is_sent_again(place: Place, tmp_path: Path) -> None:
    model = made(tmp_path / "model", 1000)
    sha256, _ = digests.of_file(model)
    with Session(place.shell, folder=place.there) as session:
        path = place.here / Path(session.upload(model, sha256, where="cache", suffix=".tflite")).relative_to(place.there)
        path.unlink()
        path.symlink_to("/proc/self/mem")  # reading it gives an input/output error
        session.upload(model, sha256, where="cache", suffix=".tflite")
    assert not path.is_symlink() and path.read_bytes() == model.read_bytes()


@pytest.mark.targets("local", "ssh", why=ONCE)
def test_names_that_lead_away_and_what_arrives_damaged(place: Place) -> None:
    with Session(place.shell, folder=place.there) as session:
        session.ask("begin_set", key="k")
        for rows in (b'[["../x.png", "ab", 1]]', b'[["/x.png", "ab", 1]]', b'[["", "ab", 1]]', b'[["x.png", "../ab", 1]]'):
            with pytest.raises(BoardRefusedError):
                session.ask("want", count=len(rows), payload=rows)
        assert session.ask("receive", files=[("ab" * 32, 3)], payload=b"abc")["damaged"] == ["ab" * 32]
        with pytest.raises(RemoteError):
            session.ask("receive", files=[("../" * 5, 3), ("ab", 3)], payload=b"abcdef")
        assert session.ask("state")["ours"]  # what followed was read to its end
    assert place.pictures == set()


def test_each_file_is_hashed_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = made(tmp_path / "1.png", 100)
    before = digests._digest.cache_info()
    assert digests.of_file(path) == digests.of_file(path)
    status = path.stat()
    path.write_bytes(os.urandom(100))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests.of_file(path)[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    after = digests._digest.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 1)


class TestSmallDisk:
    """A board whose disk is a tmpfs."""

    @pytest.fixture
    def small(self, disk: Disk) -> Place:
        there = disk("90m") / "board"  # 64 of it stay free
        return Place(shell=LocalShell(), there=str(there), here=there)

    def test_what_was_not_used_for_longest_makes_way(self, small: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(room.CAP_VARIABLE, "1000")
        for name in ("a", "b", "c"):
            for number in range(3):
                made(tmp_path / name / f"{number}.png", 3 << 20)
        for name in ("a", "b", "a"):
            sent, _ = small.send(tmp_path / name)
        sent, _ = small.send(tmp_path / "c")
        assert contents(sent) == contents(tmp_path / "c")
        there = small.pictures
        left = {name: {digests.of_file(path)[0] for path in (tmp_path / name).iterdir()} & there for name in ("a", "b")}
        assert (len(left["a"]), len(left["b"])) == (3, 2)  # no more than has to
        large = made(tmp_path / "large", 86 << 20)  # as a deployment sends it, with no word about room
        with Session(small.shell, folder=small.there) as session:
            session.upload(large, digests.of_file(large)[0])
        assert not small.pictures

    def test_too_much_is_refused_before_it_is_sent(self, small: Place, tmp_path: Path) -> None:
        for number in range(5):
            made(tmp_path / f"photos/{number}.png", 6 << 20)
        for name in ("uploads/a.part", "cache/a.part", "env/unused/complete.json", "env/released/complete.json"):
            made(small.here / name, 10)
        made(small.here / "edgekit.json", 2)
        made(small.here / "releases/0001-a/live", 0)
        record(small.here / "releases/0001-a", environment="released")
        with pytest.raises(BoardRefusedError, match=r"MiB free where .*/board lies, 94 MiB are needed; .*--limit N") as caught:
            small.send(tmp_path / "photos")
        assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
        assert not small.pictures and not list(small.here.glob("*/*.part"))  # all that could made way
        assert [path.name for path in (small.here / "env").iterdir()] == ["released"]

    def test_a_disk_that_fills_meanwhile(self, small: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(room.CAP_VARIABLE, "1000")
        for number in range(6):
            made(tmp_path / f"old/{number}.png", 2 << 20)
            made(tmp_path / f"photos/{number}.png", 2 << 20)
        filler = small.here.parent / "filler"

        def fill(left: int) -> None:
            with filler.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(filler.parent).free - left)

        small.send(tmp_path / "old")
        listing = images.listed(tmp_path / "photos", None)
        with Session(small.shell, folder=small.there) as session:
            room.tidy(session, "none", room.cap_bytes())
            there = images.send(session, listing, lambda _: fill(3 << 20))
        assert contents(Path(there)) == contents(tmp_path / "photos")  # the old ones made way
        filler.unlink()
        shutil.rmtree(small.here / "cache")
        with (
            pytest.raises(BoardRefusedError, match="No space left on device; free some space"),
            Session(small.shell, folder=small.there) as session,
        ):
            images.send(session, listing, lambda _: fill(5 << 20))
        filler.unlink()
        assert len(small.pictures) >= 2  # and the next attempt goes on from there
        sent, said = small.send(tmp_path / "photos")
        assert f"sending {6 - 2} of 6 images" in said and contents(sent) == contents(tmp_path / "photos")

    def test_pictures_without_links(self, disk: Disk, tmp_path: Path) -> None:
        other = Place(shell=LocalShell(), there=str(tmp_path / "board"), here=tmp_path / "board")
        made(tmp_path / "photos/1.png", 1000)
        other.send(tmp_path / "photos")
        shutil.rmtree(other.here / "cache/images")
        (other.here / "cache/images").symlink_to(disk("4m"))  # another disk, to which no link leads
        sent, _ = other.send(tmp_path / "photos")
        before = stamps(sent)
        sent, said = other.send(tmp_path / "photos")
        assert said == "" and stamps(sent) == before and contents(sent) == contents(tmp_path / "photos")
