"""The drive loop and its watchdog, with sources and models that really block."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from edge.errors import UsageError
from edge.live import drive as driving
from edge.live.drive import Command, DriveReport, drive
from edge.live.frame import Frame
from edge.live.watchdog import Watchdog

WAIT_S = 30.0  # what a test waits at most for another thread
NEVER_S = 1000.0  # a deadline that no test reaches
SOON_S = 0.02
SAFE = {"steering": 0.0, "throttle": -1.0}


class Source:
    """Frames that are new when they are given; the next one comes after `go` was released for it."""

    name, live, fps = "source", True, 20.0

    def __init__(self, count: int, *, broken: Sequence[int] = (), error: BaseException | None = None) -> None:
        self.count, self.broken, self.error = count, broken, error
        self.go = threading.Semaphore(1)
        self.stopped = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            assert self.go.acquire(timeout=WAIT_S)
            if self.stopped.is_set():
                return
            pixels = None if index in self.broken else np.full((2, 2, 3), index, np.uint8)
            yield Frame(index=index, captured_at=time.monotonic(), pixels=pixels)
            if pixels is None:
                self.go.release()  # nobody will take it
        assert self.go.acquire(timeout=WAIT_S)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.stopped.set()
        self.go.release()


class Vehicle:
    """Records what it is told; lets the source go on after each command that is no safe one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.told: queue.Queue[Command] = queue.Queue()

    def __call__(self, command: Command) -> None:
        self.told.put(command)
        if not command.reason:
            self.source.go.release()

    def next(self) -> Command:
        return self.told.get(timeout=WAIT_S)

    def all(self) -> list[Command]:
        return [self.told.get_nowait() for _ in range(self.told.qsize())]


def predict(frames: Sequence[Frame]) -> Mapping[str, float]:
    return {"steering": frames[-1].index / 10, "throttle": 0.5}


def reasons(commands: Sequence[Command]) -> list[str]:
    return [command.reason for command in commands]


def test_every_frame_becomes_a_command_between_two_safe_ones() -> None:
    source = Source(3)
    vehicle = Vehicle(source)
    report = drive(source, predict, vehicle, safe=SAFE, deadline_s=NEVER_S)
    told = vehicle.all()
    assert reasons(told) == ["start", "", "", "", "end"]
    assert [command.frame for command in told] == [None, 0, 1, 2, None]
    assert told[2].values == {"steering": 0.1, "throttle": 0.5}
    assert told[0].values == told[-1].values == SAFE
    ages = [command.age_ms for command in told if command.age_ms is not None]
    assert len(ages) == 3
    assert min(ages) >= 0.0
    found = report.to_dict()
    assert (found["commands"], found["late"], found["stalls"], found["frames"]["captured"]) == (3, 0, 0, 3)
    assert found["safe_commands"] == {"start": 1, "stall": 0, "end": 1}
    assert found["age"]["p50_ms"] >= sorted(ages)[1]  # until the command was delivered, not only until it was given
    assert found["age"]["p99_ms"] == found["age"]["max_ms"] >= max(ages)
    assert report.gap.count == 2
    assert "3 frames" in report.to_text()


def test_broken_frames_give_no_command() -> None:
    source = Source(5, broken=(0, 2, 3))
    vehicle = Vehicle(source)
    report = drive(source, predict, vehicle, safe=SAFE, deadline_s=NEVER_S)
    assert [command.frame for command in vehicle.all() if not command.reason] == [1, 4]
    assert (report.frames.captured, report.frames.broken) == (5, 3)


def test_a_model_that_stalls_gives_the_safe_command_until_it_answers_again() -> None:
    source = Source(2)
    vehicle = Vehicle(source)
    answer = threading.Event()

    def stalls(frames: Sequence[Frame]) -> Mapping[str, float]:
        if frames[-1].index == 0:
            assert answer.wait(WAIT_S)
        return predict(frames)

    reports: list[DriveReport] = []
    work = threading.Thread(target=lambda: reports.append(drive(source, stalls, vehicle, safe=SAFE, deadline_s=SOON_S)))
    work.start()
    assert vehicle.next().reason == "start"
    for _ in range(2):  # and again, as long as it lasts
        command = vehicle.next()
        assert (command.reason, command.values, command.frame) == ("stall", SAFE, None)
    answer.set()
    source.go.release()  # the answer that came too late is no command, so the vehicle does not ask for the next frame
    source.go.release()
    work.join(WAIT_S)
    (report,) = reports
    rest = vehicle.all()
    assert 0 not in [command.frame for command in rest]
    assert rest[-1].reason == "end"
    assert report.late >= 1
    assert report.stalls >= 1
    assert report.safe["stall"] >= 2


def test_a_source_that_stalls_gives_the_safe_command() -> None:
    source = Source(3)
    vehicle = Vehicle(source)
    source.go.acquire()  # no first frame yet
    work = threading.Thread(target=lambda: drive(source, predict, vehicle, safe=SAFE, deadline_s=SOON_S, max_age_s=NEVER_S))
    work.start()
    assert [vehicle.next().reason for _ in range(3)] == ["start", "stall", "stall"]
    source.go.release()
    while (command := vehicle.next()).reason != "end":
        assert command.reason in ("stall", "")
    work.join(WAIT_S)


def test_a_command_ends_a_stall_so_that_the_next_one_is_another() -> None:
    source = Source(1)
    told: queue.Queue[str] = queue.Queue()
    source.go.acquire()
    reports: list[DriveReport] = []

    def send(command: Command) -> None:
        told.put(command.reason)

    def work() -> None:
        reports.append(drive(source, predict, send, safe=SAFE, deadline_s=SOON_S, max_age_s=NEVER_S))

    thread = threading.Thread(target=work)
    thread.start()
    for reason in ("stall", "", "stall"):
        if not reason:
            source.go.release()
        while told.get(timeout=WAIT_S) != reason:
            pass
    source.go.release()
    thread.join(WAIT_S)
    assert reports[0].commands == 1
    assert reports[0].stalls == 2


def test_a_receiver_that_blocks_is_a_stall_too() -> None:
    source = Source(1)
    told: queue.Queue[str] = queue.Queue()
    unblock = threading.Event()

    def blocks(command: Command) -> None:
        told.put(command.reason)
        if not command.reason:
            assert unblock.wait(WAIT_S)

    work = threading.Thread(target=lambda: drive(source, predict, blocks, safe=SAFE, deadline_s=SOON_S, max_age_s=NEVER_S))
    work.start()
    seen = [told.get(timeout=WAIT_S)]
    while "" not in seen:  # stalls may come before, on a busy machine
        seen.append(told.get(timeout=WAIT_S))
    assert told.get(timeout=WAIT_S) == "stall"  # while the command is still being sent
    unblock.set()
    source.go.release()
    work.join(WAIT_S)
    assert not work.is_alive()


def test_a_command_that_is_delivered_too_late_is_followed_by_the_safe_one_and_feeds_nobody() -> None:
    source = Source(2)
    told: list[str] = []
    stalled = threading.Semaphore(0)
    max_age_s = 0.5

    def slow(command: Command) -> None:
        if command.reason == "stall":
            stalled.release()
        if command.age_ms is not None:
            while time.monotonic() - command.given_at + command.age_ms / 1e3 <= max_age_s:
                assert stalled.acquire(timeout=WAIT_S)  # the watchdog's safe command, while this one is under way
            source.go.release()
        told.append(command.reason)

    def waits(frames: Sequence[Frame]) -> Mapping[str, float]:
        if frames[-1].index == 1:  # another deadline goes by: had the late command fed the watchdog, this were a second stall
            while stalled.acquire(blocking=False):
                pass
            assert stalled.acquire(timeout=WAIT_S)
            source.go.release()
            return {"steering": float("nan")}
        return predict(frames)

    report = drive(source, waits, slow, safe=SAFE, deadline_s=SOON_S, max_age_s=max_age_s)
    assert told[told.index("") - 1] == "stall"
    assert told[told.index("") + 1] == "stall"
    assert (report.commands, report.late, report.stalls) == (1, 1, 1)
    found = report.to_dict()
    assert found["age"]["max_ms"] > max_age_s * 1e3
    assert told[-1] == "end"


def test_at_the_deadline_the_watchdog_does_not_wait_for_a_command_that_is_being_sent() -> None:
    told: list[str] = []
    report = DriveReport(source="source", deadline_ms=NEVER_S * 1e3)
    sending, done = threading.Event(), threading.Event()

    def blocks(command: Command) -> None:
        told.append(command.reason)
        if not command.reason:
            sending.set()
            assert done.wait(WAIT_S)

    outlet = driving._Outlet(blocks, SAFE, report, NEVER_S)
    watchdog = Watchdog(NEVER_S, lambda: None)
    frame = Frame(index=0, captured_at=time.monotonic(), pixels=np.zeros((2, 2, 3), np.uint8))
    work = threading.Thread(target=lambda: outlet.give({"steering": 1.0}, frame, watchdog, NEVER_S))
    work.start()
    assert sending.wait(WAIT_S)
    outlet.stop("stall")  # would wait for a thousand seconds
    assert told == ["", "stall"]
    done.set()
    work.join(WAIT_S)


def test_answers_that_are_not_finite_are_refused() -> None:
    source = Source(2)
    vehicle = Vehicle(source)

    def wrong(frames: Sequence[Frame]) -> Mapping[str, float]:
        source.go.release()
        return {"steering": float("nan"), "throttle": 0.1}

    report = drive(source, wrong, vehicle, safe=SAFE, deadline_s=NEVER_S)
    assert reasons(vehicle.all()) == ["start", "end"]
    assert (report.commands, report.refused) == (0, report.frames.taken)
    assert report.refused >= 1


def test_values_are_held_within_their_limits() -> None:
    source = Source(3)
    vehicle = Vehicle(source)
    limits = {"steering": (0.05, 0.15), "throttle": (0.0, 0.2)}
    drive(source, predict, vehicle, safe=SAFE, deadline_s=NEVER_S, limits=limits)
    values = [command.values for command in vehicle.all() if not command.reason]
    assert [value["steering"] for value in values] == [0.05, 0.1, 0.15]
    assert {value["throttle"] for value in values} == {0.2}


def test_limits_the_wrong_way_round_are_refused() -> None:
    source = Source(1)
    with pytest.raises(UsageError, match="limit of steering: 1.0 to -1.0"):
        drive(source, predict, Vehicle(source), safe=SAFE, limits={"steering": (1.0, -1.0)})


def test_a_frame_that_is_too_old_gives_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(2)
    vehicle = Vehicle(source)

    class Old(Source):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(index=0, captured_at=time.monotonic() - 5.0, pixels=np.zeros((2, 2, 3), np.uint8))

    report = drive(Old(1), predict, vehicle, safe=SAFE, deadline_s=NEVER_S, max_age_s=1.0)
    assert reasons(vehicle.all()) == ["start", "end"]
    assert (report.late, report.commands, report.inference.count) == (1, 0, 0)


def test_the_last_frames_reach_a_model_that_sees_several() -> None:
    source = Source(4)
    vehicle = Vehicle(source)
    seen: list[list[int]] = []

    def sees(frames: Sequence[Frame]) -> Mapping[str, float]:
        seen.append([frame.index for frame in frames])
        return predict(frames)

    drive(source, sees, vehicle, safe=SAFE, deadline_s=NEVER_S, window=3)
    assert seen == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


@pytest.mark.parametrize("where", ["source", "model"])
def test_an_error_ends_with_the_safe_command(where: str) -> None:
    source = Source(1, error=OSError("broke") if where == "source" else None)
    vehicle = Vehicle(source)

    def breaks(frames: Sequence[Frame]) -> Mapping[str, float]:
        if where == "model":
            raise OSError("broke")
        return predict(frames)

    with pytest.raises(OSError, match="broke"):
        drive(source, breaks, vehicle, safe=SAFE, deadline_s=NEVER_S)
    assert vehicle.all()[-1].values == SAFE


def test_ctrl_c_ends_with_the_safe_command_and_a_report() -> None:
    source = Source(2)
    vehicle = Vehicle(source)

    def interrupted(frames: Sequence[Frame]) -> Mapping[str, float]:
        if frames[-1].index == 1:
            raise KeyboardInterrupt
        return predict(frames)

    report = drive(source, interrupted, vehicle, safe=SAFE, deadline_s=NEVER_S)
    assert reasons(vehicle.all()) == ["start", "", "end"]
    assert report.to_dict()["interrupted"] is True


def test_a_time_limit_ends_a_drive_without_frames() -> None:
    source = Source(1)
    source.go.acquire()
    vehicle = Vehicle(source)
    report = drive(source, predict, vehicle, safe=SAFE, deadline_s=NEVER_S, seconds=0.01)
    assert reasons(vehicle.all()) == ["start", "end"]
    assert report.frames.captured == 0
    assert report.to_dict()["age"] is None


# the watchdog by itself


def test_a_watchdog_that_is_fed_stays_quiet_and_one_that_is_not_acts_again_and_again() -> None:
    acted: queue.Queue[None] = queue.Queue()
    with Watchdog(NEVER_S, lambda: acted.put(None)) as quiet:
        quiet.feed()
    assert (acted.qsize(), quiet.stalls) == (0, 0)
    with Watchdog(SOON_S, lambda: acted.put(None)) as hungry:
        for _ in range(3):
            acted.get(timeout=WAIT_S)
        assert hungry.overdue
        assert hungry.stalls == 1  # one stall, however long it lasts
        hungry.feed()
        acted.get(timeout=WAIT_S)
        while hungry.stalls < 2:
            acted.get(timeout=WAIT_S)


def test_an_action_that_fails_does_not_end_the_watchdog() -> None:
    acted = threading.Semaphore(0)

    def fails() -> None:
        acted.release()
        raise OSError("no brake")

    with Watchdog(SOON_S, fails) as watchdog:
        for _ in range(3):
            assert acted.acquire(timeout=WAIT_S)
    assert str(watchdog.error) == "no brake"


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_deadline_that_makes_no_sense_is_refused(deadline_s: float) -> None:
    with pytest.raises(UsageError, match="a deadline of"):
        Watchdog(deadline_s, lambda: None)


def test_the_reasons_are_words_that_programs_may_rely_on() -> None:
    assert (driving.START, driving.STALL, driving.END) == ("start", "stall", "end")
