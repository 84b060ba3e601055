"""Helper processes: they do what this process would do, end when nobody has use for them, and nothing needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver import worker_processes
from archiver.errors import ConfigError, PageUnreadable
from archiver.logs import dump_exact, parse_page
from archiver.sheets import read_page, recognise_page
from archiver.worker_processes import PAYS, WAITING, Helpers
from tests.test_archive import line_log

HERE = os.getpid()


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[Helpers]:
    """Helpers, one at most, which is at work."""
    made = Helpers(1)
    with made.used():
        begin(made)
        yield made
    assert gone(made)


def begin(made: Helpers) -> int:
    """Call until a helper answers; its process number."""
    until = time.monotonic() + 20
    while (pid := made.call(os.getpid)) == HERE:
        assert time.monotonic() < until, "no helper answered"
        time.sleep(0.001)
    return pid


def gone(made: Helpers) -> bool:
    return not (made._processes or made._free)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def in_time(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_helper_is_begun_when_it_pays_and_ends_when_nobody_has_use_for_it() -> None:
    made = Helpers(1)
    with made.used():
        assert {made.call(os.getpid) for _ in range(PAYS - 1)} == {HERE}
        assert gone(made)
        pid = begin(made)
        with made.used():
            assert made.call(os.getpid) == pid
        assert made.call(os.getpid) == pid
    assert gone(made)
    assert not exists(pid)
    assert made.call(os.getpid) == HERE
    with made.used():
        assert begin(made) != pid


def test_there_is_none_without_a_core_for_it() -> None:
    with worker_processes.ALONE.used():
        assert {worker_processes.ALONE.call(os.getpid) for _ in range(3 * PAYS)} == {HERE}


def test_what_comes_back_is_what_this_process_would_have_made(one: Helpers) -> None:
    rows = [line_log(number, 1, price=number / 7, note="é\u0000\n" if number == 3 else None) for number in range(100)]
    body = dump_exact({"results": rows, "count": 4711}).encode()
    for function in (read_page, recognise_page):
        theirs, ours = one.call(function, body, ("sku",)), function(body, ("sku",))
        assert theirs.listed == ours.listed
        assert ours.listed.count == 4711
        for name in ("ids", "hashes", "texts", "failed", "loose", "times", "months", "names"):
            assert getattr(theirs.sheet, name) == getattr(ours.sheet, name), name


def test_an_error_is_raised_where_the_call_came_from(one: Helpers) -> None:
    with pytest.raises(PageUnreadable, match="is not JSON") as caught:
        one.call(parse_page, b"<html>")
    assert str(caught.value) == "the answer of 6 bytes is not JSON"
    with pytest.raises(ConfigError) as wrong:
        one.call(_misconfigured)
    assert (wrong.value.problems, str(wrong.value)) == (("one", "two"), "one\ntwo")
    with pytest.raises(ConnectionResetError):
        one.call(_reset)
    assert one.call(threading.Lock).acquire(timeout=1)  # it cannot be pickled
    assert one.call(_with, _misconfigured) == 7
    assert one.call(os.getpid) != HERE


def _misconfigured() -> None:
    raise ConfigError(["one", "two"])


def _reset() -> None:
    raise ConnectionResetError


def _with(_: object) -> int:
    return 7


class _Unreadable:
    """What a helper can send, and nobody can read."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return int, ("no number",)


def test_an_answer_that_cannot_be_read_is_worked_out_here(one: Helpers) -> None:
    assert isinstance(one.call(_Unreadable), _Unreadable)
    assert gone(one)
    assert one.call(lambda: 7) == 7


def test_pages_that_cannot_be_read_leave_nothing_in_a_helper(one: Helpers) -> None:
    pid, body = begin(one), b'{"results":[{"id":1,"a":"' + b"x" * 1_000_000 + b'"}'
    for _ in range(10):
        with pytest.raises(PageUnreadable):
            one.call(read_page, body, ())
    before = resident(pid)
    for _ in range(40):
        with pytest.raises(PageUnreadable):
            one.call(read_page, body, ())
    assert one.call(os.getpid) == pid
    assert resident(pid) - before < 5


def resident(pid: int) -> float:
    """MB of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize("size", [0, 1, 262_135, 262_136, 262_137, 3_000_000])
def test_sizes(one: Helpers, size: int) -> None:
    data = os.urandom(size)
    assert one.call(bytes, data) == data


def test_more_calls_than_a_helper_takes_are_done_here(one: Helpers) -> None:
    found: Counter[bool] = Counter()
    lock = threading.Lock()

    def work() -> None:
        for _ in range(30):
            pid = one.call(_slow_pid)
            with lock:
                found[pid == HERE] += 1

    threads = [threading.Thread(target=work) for _ in range(WAITING + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.total() == 30 * len(threads)
    assert found[True]
    assert found[False]


def _slow_pid() -> int:
    time.sleep(0.001)
    return os.getpid()


def test_a_helper_that_dies_in_the_middle_costs_nothing(one: Helpers, caplog: pytest.LogCaptureFixture) -> None:
    assert one.call(_die_elsewhere, HERE) == 7
    assert gone(one)
    assert one.call(os.getpid) == HERE
    assert [record.getMessage() for record in caplog.records] == [
        "a helper process is gone (EOFError); its work is done without it"
    ]


def _die_elsewhere(here: int) -> int:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def test_a_helper_that_is_stopped_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_processes, "LONGEST", 1)
    made = Helpers(1)
    with made.used():
        pid = begin(made)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        assert made.call(os.getpid) == HERE
        assert time.monotonic() - began < 5
        assert gone(made)
        assert not exists(pid)
    assert "it does not answer" in caplog.text


def test_signals_for_the_whole_group_are_not_for_helpers(one: Helpers) -> None:
    pid = begin(one)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert one.call(os.getpid) == pid


def test_none_can_be_begun(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    made = Helpers(2)
    with made.used():
        assert {made.call(os.getpid) for _ in range(2 * PAYS - 1)} == {HERE}
        assert [record.getMessage() for record in caplog.records] == [
            "no helper process can be begun: Permission denied"
        ]
        monkeypatch.undo()
        begin(made)


def test_one_that_does_not_start_is_no_helper(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one of another version, whose files were put in the place of ours while this process runs."""
    made = Helpers(1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with made.used():
        assert in_time(lambda: made.call(os.getpid) == HERE and bool(caplog.records))
        assert gone(made)
        monkeypatch.undo()
        monkeypatch.setattr(worker_processes, "VERSION", b"x" * len(worker_processes.VERSION))
        assert in_time(lambda: made.call(os.getpid) == HERE and len(caplog.records) == 2)
        assert gone(made)
        monkeypatch.undo()
        begin(made)
    assert [record.getMessage().split("(")[1].split(")")[0] for record in caplog.records] == [
        "it did not start",
        "the archiver's files are of another version by now",
    ]


def test_whatever_a_helper_imports_of_the_archiver_counts_for_its_version() -> None:
    here = Path(worker_processes.__file__).parent
    script = (
        "import sys, archiver.worker_processes, archiver.sheets; print(*(one.__file__ for one in sys.modules.values()"
    )
    script += " if one.__name__.partition('.')[0] == 'archiver'), sep='\\n')"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    counted = {str(file) for pattern in worker_processes.SOURCES for file in here.glob(pattern)}
    assert {str(here / "sheets" / "page.py"), str(here / "window" / "asks.py")} <= set(said.split()) <= counted


def test_calls_of_nobody_are_not_counted() -> None:
    made = Helpers(1)
    assert {made.call(os.getpid) for _ in range(2 * PAYS)} == {HERE}
    with made.used():
        begin(made)


def test_a_process_that_is_stopped_for_a_moment_loses_no_helper() -> None:
    """Neither this one nor the helper, in the middle of a long answer."""
    made, data = Helpers(1), os.urandom(3_000_000)
    with made.used():
        pid = begin(made)
        stopper = subprocess.Popen(["/bin/sh", "-c", _STOPS.format(here=HERE, pid=pid)])
        while stopper.poll() is None:
            assert made.call(bytes, data) == data
        assert begin(made) == pid


_STOPS = (
    "for n in 1 2 3 4 5 6 7 8; do kill -STOP {here}; sleep 0.02; kill -CONT {here};"
    " kill -STOP {pid}; sleep 0.02; kill -CONT {pid}; sleep 0.01; done"
)


def test_what_lies_around_is_not_taken_for_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit(3)")
    (tmp_path / "archiver").mkdir()
    (tmp_path / "archiver" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    made = Helpers(1)
    with made.used():
        assert begin(made) != HERE


def test_a_helper_ends_with_a_process_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _BEGUN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert exists(pid)
        process.kill()
    assert in_time(lambda: not exists(pid))


_BEGUN = """
import os, time
from archiver.worker_processes import Helpers

made = Helpers(1)
with made.used():
    while (pid := made.call(os.getpid)) == os.getpid():
        time.sleep(0.001)
    print(pid, flush=True)
    time.sleep(60)
"""


def test_a_socket_that_is_closed_is_the_end_of_a_line_and_not_of_the_helper() -> None:
    made = Helpers(1)
    with made.used():
        pid = begin(made)
        first = made._free.pop()
        first.close()
        assert {made.call(os.getpid) for _ in range(5)} == {pid}
