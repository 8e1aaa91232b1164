"""A folder's lock: one process holds it, and whatever ends it lets go of the lock, on a system without locks too."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unet_exp.files import find_holder, hold_lock, is_locked

HOLD = """
import sys, time, warnings
if sys.argv[2] == "soft":
    sys.modules["fcntl"] = None
    warnings.simplefilter("ignore")
from pathlib import Path
from unet_exp.files import find_holder, is_locked, hold_lock

path = Path(sys.argv[1])
print(is_locked(path), find_holder(path), flush=True)
with hold_lock(path):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def started(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process that says whether the lock is held, takes it, and keeps it."""
    command = [sys.executable, "-c", HOLD, str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("kind", ["native", "soft"])
def test_a_kill_lets_go(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".lock"
    with started(path, kind) as first:
        assert (line(first), line(first)) == ("False None", "held")
        with started(path, kind) as second:
            assert line(second) == f"True {first.pid}"
            second.wait()
            assert second.stderr is not None
            assert "BlockingIOError" in second.stderr.read()
        first.send_signal(signal.SIGKILL)
        first.wait()
        with started(path, kind) as third:
            assert (line(third), line(third)) == ("False None", "held")


def test_a_forked_process_does_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with hold_lock(path):
            os.write(write, f"{os.fork()}\n".encode())
            time.sleep(60)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:  # the worker's number, and 0 from itself
        worker = max(int(told.readline()), int(told.readline()))
    assert find_holder(path) == child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.kill(worker, 0)  # it lives
    assert not is_locked(path)
    os.kill(worker, signal.SIGKILL)


def test_held_by_this_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("1 elsewhere\n")  # as earlier versions left it
    assert not is_locked(path)
    with hold_lock(path):
        assert path.read_text().split() == [str(os.getpid()), socket.gethostname()]
        assert is_locked(path)
        assert find_holder(path) == os.getpid()
        with pytest.raises(BlockingIOError), hold_lock(path):
            pass
        path.chmod(0o400)
        assert is_locked(path)
    assert find_holder(path) is None


def test_a_holder_on_another_machine_is_none_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    with hold_lock(path):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        assert is_locked(path)
        assert find_holder(path) is None
