from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmpipe.pipeline import owner
from lmpipe.pipeline.lease import Holder, Watch, acquire, holder_of, try_acquire
from lmpipe.pipeline.owner import owner_of, this_process


def never(holder: Holder) -> None:
    raise AssertionError(f"waited for {holder}")


@contextmanager
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def write(path: Path, owner: object, token: str = "theirs") -> None:
    path.write_text(json.dumps({"token": token, "owner": owner, "children": []}))


def test_a_lease_is_exclusive_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with acquire(path, waiting=never) as lease:
        second, holder = try_acquire(path)
        assert second is None
        assert holder is not None
        assert holder.owner == this_process()
        assert lease.is_held()
    assert not path.exists()
    assert holder_of(path) is None


def test_a_dead_holder_here_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with other_process() as process:
        write(path, owner_of(process.pid).model_dump())
        assert try_acquire(path)[0] is None
    with acquire(path, waiting=never) as lease:
        assert lease.is_held()


def test_a_number_used_again_by_another_process_is_not_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with other_process() as process:
        write(path, {**owner_of(process.pid).model_dump(), "started": 1.0})
        with acquire(path, waiting=never) as lease:
            assert lease.is_held()


def test_a_dead_holder_whose_child_still_works_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    dead = {**this_process().model_dump(), "started": 1.0}
    with other_process() as process:
        child = owner_of(process.pid).model_dump()
        path.write_text(json.dumps({"token": "t", "owner": dead, "children": [child]}))
        assert try_acquire(path)[0] is None
    assert try_acquire(path)[0] is not None


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    who = owner_of(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert who.is_dead()
    process.wait()


@pytest.mark.parametrize("field", ["host", "boot", "namespace"])
def test_of_a_process_elsewhere_nothing_is_known(field: str) -> None:
    assert this_process().is_dead() is False
    assert this_process().model_copy(update={field: "elsewhere"}).is_dead() is None


def test_a_silent_holder_elsewhere_is_taken_over_and_one_that_beats_is_not(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    write(path, {**this_process().model_dump(), "host": "elsewhere"})
    os.utime(path, (1, 1))  # by its own clock it is decades old; only what is seen from here counts
    beats = iter(range(3))
    waited: list[Holder] = []

    def waiting(holder: Holder) -> None:
        waited.append(holder)
        if (beat := next(beats, None)) is not None:
            os.utime(path, (10 + beat, 10 + beat))

    started = time.monotonic()
    with acquire(path, waiting=waiting, ttl=0.6) as lease:
        assert lease.is_held()
    assert time.monotonic() - started > 0.6 + 2 * 0.25  # silence counts from the last beat
    assert str(waited[0]) == f"process {os.getpid()} on elsewhere"


def test_the_heartbeat_moves(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with acquire(path, waiting=never, heartbeat=0.02):
        os.utime(path, (1, 1))
        while path.stat().st_mtime == 1:
            time.sleep(0.01)


def test_a_holder_notices_that_it_was_taken_over_and_does_not_remove_what_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    with acquire(path, waiting=never, heartbeat=0.02) as lease:
        write(path, this_process().model_dump())
        assert lease.lost.wait(10)
        assert not lease.is_held()
    assert path.exists()


def test_a_holder_here_that_is_silent_but_alive_is_not_taken_over(tmp_path: Path) -> None:
    """Stopped, or in a long call that starves its heartbeat."""
    path, watch = tmp_path / "stage.json", Watch(ttl=0.05)
    with other_process() as process:
        write(path, owner_of(process.pid).model_dump())
        for _ in range(3):
            assert try_acquire(path, watch=watch)[0] is None
            time.sleep(0.05)


def test_a_lease_that_this_process_forgot_is_free(tmp_path: Path) -> None:
    """An interrupt in a notebook came while the lease was being given back; the kernel lives on."""
    path = tmp_path / "stage.json"
    write(path, this_process().model_dump())
    with acquire(path, waiting=never) as lease:
        assert lease.is_held()


def test_a_lease_that_cannot_be_read_is_waited_out(tmp_path: Path) -> None:
    path, watch = tmp_path / "stage.json", Watch(ttl=0.1)
    path.write_text("{")
    assert try_acquire(path, watch=watch)[0] is None
    time.sleep(0.15)
    assert try_acquire(path, watch=watch)[0] is not None


@pytest.mark.parametrize("links", [True, False])
def test_of_many_contenders_for_stale_leases_one_at_a_time_wins(tmp_path: Path, monkeypatch, links: bool) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "stage.json"
    inside: list[int] = []
    most: list[int] = []

    def contend(number: int) -> None:
        for turn in range(5):
            lease = acquire(path, waiting=lambda holder: None)
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            if turn % 2:
                lease.release()
            else:  # die: the next one has to take over
                path.write_text(json.dumps({"token": lease.token, "owner": dead, "children": []}))

    dead = {**this_process().model_dump(), "started": 1.0}
    write(path, dead)
    monkeypatch.setattr("lmpipe.pipeline.lease.POLL_SECONDS", 0.001)
    threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 40
    path.unlink()
    assert not list(tmp_path.iterdir())


def test_a_contender_that_died_while_taking_over_blocks_nobody(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "stage.json"
    dead = {**this_process().model_dump(), "started": 1.0}
    write(path, dead)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # everything after the right was taken does not happen
        patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            try_acquire(path)
    for left in tmp_path.glob("*.tmp"):
        write(left, dead)
    assert try_acquire(path)[0] is None
    assert try_acquire(path)[0] is not None


def test_a_process_that_was_started_here_is_known_by_its_start(tmp_path: Path) -> None:
    assert owner.start_time(os.getpid()) == this_process().started
    assert owner.start_time(2**22 + 1) is None


def test_where_there_is_no_proc_the_same_is_known_from_psutil() -> None:
    with other_process() as process:
        started = owner._start_time_elsewhere(process.pid)
        assert started == owner._start_time_elsewhere(process.pid)
        assert abs(time.time() - (started or 0)) < 60
    assert owner._start_time_elsewhere(process.pid) is None
