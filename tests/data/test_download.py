"""The downloads: all files, checked, or nothing; against a server on loopback."""

import hashlib
import io
import os
import re
import signal
import socket
import stat
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from unet_exp import progress
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.data.sets import isbi2012
from unet_exp.errors import DataError
from unet_exp.io import download
from unet_exp.io.archive import BadArchive, unpack

SLICES = 30
PLACES = {"train/image": "train/image", "train/label": "train/label", "test/image": "test"}


class Server(ThreadingHTTPServer):
    """Serves `files`; `answer[path]` may take a request over and returns whether it did."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.checksums, self.answer, self.asked = {}, {}, {}, []
        rng = np.random.default_rng(0)
        for place, served in PLACES.items():
            digest = hashlib.sha256()
            for number in range(SLICES):
                pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
                if place == "train/label":
                    pixels = np.where(pixels > 99, 255, 0).astype(np.uint8)
                self.files[f"/{served}/{number}.png"] = cv2.imencode(".png", pixels)[1].tobytes()
                digest.update(pixels.tobytes())
            self.checksums[place] = digest.hexdigest()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answer.get(self.path)
        if not (answer and answer(self)):
            self.send(self.server.files[self.path])

    def send(self, data, length=None, status=200):
        self.send_response(status)
        if length != 0:
            self.send_header("Content-Length", str(length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        monkeypatch.setenv(isbi2012.ISBI_URL_VARIABLE, server.url + "/")
        yield server


@pytest.fixture
def quick(monkeypatch):
    """No waits between attempts, and a list of those left out."""
    import pooch.core

    waits = []
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=waits.append))
    return waits


def fetch(server, root, **options):
    isbi2012.fetch_isbi2012(root, server.checksums, **options)


def test_a_line_tells_how_far_it_is(server, tmp_path, monkeypatch, capsys):
    heart = progress.Heartbeat(every=threading.TIMEOUT_MAX)
    monkeypatch.setattr(progress, "HEART", heart)
    server.answer["/test/7.png"] = lambda _: heart.beat()
    fetch(server, tmp_path / "isbi", threads=1)
    assert re.search(r"^downloading ISBI-2012: \d+%, \d+ s$", capsys.readouterr().out, re.MULTILINE)


def failure(server, tmp_path, **options):
    with pytest.raises(DataError) as caught:
        fetch(server, tmp_path / "new" / "isbi", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("http://127.0.0.1:")
    assert str(tmp_path / "new" / "isbi") in message
    assert list(tmp_path.iterdir()) == []  # Nothing half there, and no new parent folder.
    return message


def test_all_files_arrive(server, tmp_path, capfd):
    root = tmp_path / "deep" / "isbi"
    fetch(server, root)
    for place, served in PLACES.items():
        for number in range(SLICES):
            assert (root / place / f"{number}.png").read_bytes() == server.files[f"/{served}/{number}.png"]
    assert [path.name for path in root.parent.iterdir()] == ["isbi"]
    assert len(server.asked) == 90
    assert root.stat().st_mode & 0o055 == 0o055 & ~_umask()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"downloading from {server.url}; ")
    assert "cite Cardona" in err  # the terms
    assert len(err.splitlines()) == 1


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_load_downloads_once_into_an_empty_folder(server, tmp_path, monkeypatch):
    for place, checksum in server.checksums.items():
        monkeypatch.setitem(isbi2012.ISBI_CHECKSUMS, place, checksum)
    config = parse(compose_train(["data=isbi2012", f"data.root={tmp_path}", "data.download=true"])).data
    for _ in range(2):
        data = isbi2012.load_isbi2012(config)
        assert [len(part) for part in (data.train, data.val, data.test, data.unlabelled)] == [20, 4, 6, 30]
    assert len(server.asked) == 90


def test_an_error_of_the_server_is_asked_again(server, tmp_path, quick):
    troubles = [500, 503]
    server.answer["/test/7.png"] = lambda h: troubles and not h.send(b"", 1, troubles.pop())
    fetch(server, tmp_path / "isbi")
    assert server.asked.count("/test/7.png") == 3
    assert quick == [1, 2]


@pytest.mark.usefixtures("quick")
def test_a_lasting_error_of_the_server(server, tmp_path):
    server.answer["/test/7.png"] = lambda h: not h.send(b"x", 1, 500)
    message = failure(server, tmp_path, retries=2)
    assert "/test/7.png: the server answered 500" in message
    assert server.asked.count("/test/7.png") == 3


def test_a_missing_file_is_not_asked_again(server, tmp_path, quick):
    server.answer["/train/label/3.png"] = lambda h: not h.send(b"x", 1, 404)
    assert "/train/label/3.png: the server answered 404 Not Found" in failure(server, tmp_path)
    assert server.asked.count("/train/label/3.png") == 1
    assert quick == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("declared", [True, False])
def test_a_truncated_file(server, tmp_path, declared):
    def cut(handler):
        data = server.files["/train/image/0.png"]
        handler.send(data[:-30], len(data) if declared else 0)
        handler.close_connection = True
        return True

    server.answer["/train/image/0.png"] = cut
    message = failure(server, tmp_path, retries=1)
    assert "/train/image/0.png: " in message
    assert ("the transfer broke off" if declared else "the file is damaged, cut short") in message


def test_an_altered_file(server, tmp_path):
    server.files["/train/image/5.png"] = server.files["/train/image/6.png"]
    assert "/train/image: the pixels are not the published ones" in failure(server, tmp_path)


def test_a_page_instead_of_a_picture(server, tmp_path):
    server.files["/train/image/5.png"] = b"<html>please log in</html>"
    assert "/train/image/5.png: what arrived is no slice (is a web page" in failure(server, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_server_that_is_silent(server, tmp_path):
    server.answer["/test/1.png"] = lambda _: time.sleep(1.5)
    assert "/test/1.png: no answer within 1 s" in failure(server, tmp_path, timeout=1, retries=0)


def test_a_refused_connection(server, tmp_path, quick, monkeypatch):
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        monkeypatch.setenv(isbi2012.ISBI_URL_VARIABLE, f"http://127.0.0.1:{port.getsockname()[1]}")
        assert "no connection to the server" in failure(server, tmp_path, retries=1)
    assert 1 in quick


def test_ctrl_c(server, tmp_path):
    def interrupt(_):
        os.kill(os.getpid(), signal.SIGINT)

    server.answer["/train/label/20.png"] = interrupt
    assert "interrupted" in failure(server, tmp_path)
    assert len(server.asked) < 90


def test_a_disk_that_is_full(server, tmp_path, monkeypatch):
    import pooch.core

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.core.shutil, "move", full)
    with pytest.raises(DataError, match=r"isbi: cannot be written \(No space left on device\)"):
        fetch(server, tmp_path / "isbi")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_left_alone(server, tmp_path):
    (tmp_path / "isbi").mkdir()
    (tmp_path / "isbi" / "thesis.tex").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch(server, tmp_path / "isbi")
    assert [p.name for p in tmp_path.rglob("*")] == ["isbi", "thesis.tex"]


def test_another_process_was_faster(server, tmp_path):
    def other(_):
        (tmp_path / "isbi" / "train" / "image").mkdir(parents=True)

    server.answer["/test/0.png"] = other
    fetch(server, tmp_path / "isbi")
    assert [p.name for p in tmp_path.iterdir()] == ["isbi"]


@pytest.mark.usefixtures("quick")
def test_a_wrong_address(tmp_path, monkeypatch):
    monkeypatch.setenv(isbi2012.ISBI_URL_VARIABLE, "gopher://x")
    with pytest.raises(DataError, match=r"^gopher://x/\S+\.png: No connection adapters"):
        isbi2012.fetch_isbi2012(tmp_path / "isbi")


GOOD = {"cells/01_GT/a.txt": b"a" * 1000, "cells/01/b.txt": b"b"}


def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def fetch_archive(server, root, data, checksum=None, **options):
    server.files["/cells.zip"] = data
    job = download.Download("CELLS", f"{server.url}/cells.zip", "be kind", root, "01 and 01_GT", "01_GT")
    download.fetch_archive(job, "cells", checksum or hashlib.sha256(data).hexdigest(), **options)


def archive_failure(server, tmp_path, data, **options):
    root = tmp_path / "new" / "cells"
    with pytest.raises(DataError) as caught:
        fetch_archive(server, root, data, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{server.url}/cells.zip: ")
    assert f"put 01 and 01_GT into {root} (data.root) by hand" in message
    assert list(tmp_path.iterdir()) == []
    return message


def test_an_archive_arrives(server, tmp_path, capfd):
    root = tmp_path / "deep" / "cells"
    fetch_archive(server, root, zipped(GOOD))
    assert {str(p.relative_to(root.parent)): p.read_bytes() for p in root.rglob("*") if p.is_file()} == GOOD
    assert [path.name for path in root.parent.iterdir()] == ["cells"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"downloading from {server.url}/cells.zip; be kind\n")


def test_an_archive_with_another_checksum(server, tmp_path):
    message = archive_failure(server, tmp_path, zipped(GOOD), checksum="0" * 64)
    assert "not the published archive (sha256" in message
    assert server.asked == ["/cells.zip"]


def linked():
    link = zipfile.ZipInfo("cells/01_GT/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({**GOOD, link: b"/etc/passwd"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        *[
            (zipped({**GOOD, name: b"evil"}), "leads out of its folder")
            for name in ("../evil", "/evil", "cells/../../evil", "C:/evil", "..\\evil", "cells/..")
        ],
        (linked(), "which is a link or device"),
        (zipped(GOOD).replace(b"a.txt", b"A.txt", 1), "the archive is damaged"),
        (b"<html>please log in</html>", "the archive is damaged"),
        (zipped({"other/01_GT/a.txt": b""}), "the archive holds no folder cells/01_GT"),
        (zipped({"cells": b""}), "the archive holds no folder cells/01_GT"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted(server, tmp_path, data, words):
    assert words in archive_failure(server, tmp_path, data)


def test_an_archive_with_flipped_bits(server, tmp_path):
    data = zipped({"cells/01_GT/a.txt": bytes(range(256)) * 9})
    at = data.index(b"a.txt") + 20
    assert "the archive is damaged" in archive_failure(server, tmp_path, data[:at] + b"\xff\xff" + data[at + 2 :])


def test_an_archive_that_grows_too_large(tmp_path):
    (tmp_path / "bomb.zip").write_bytes(zipped({"a": bytes(6000), "b": bytes(6000)}))
    with pytest.raises(BadArchive, match="holds more than 9999 bytes"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out", limit=9999)
    assert not (tmp_path / "out").exists()


def test_an_archive_that_is_cut_short(server, tmp_path):
    def cut(handler):
        handler.send(server.files["/cells.zip"][:-30], len(server.files["/cells.zip"]))
        handler.close_connection = True
        return True

    server.answer["/cells.zip"] = cut
    assert "the transfer broke off" in archive_failure(server, tmp_path, zipped(GOOD), retries=0)


def long_transfer(server, begun):
    """An archive of 2 GB; `begun` is called when the first of it is sent. What is returned is filled at the end."""
    block, blocks, finished = bytes(2**20), 2000, []

    def send(handler):
        handler.send(block, len(block) * blocks)
        begun()
        with suppress(OSError):  # Where the other side has closed the connection.
            for _ in range(blocks - 1):
                handler.wfile.write(block)
            finished.append(True)
        return True

    server.answer["/cells.zip"] = send
    return finished


def test_ctrl_c_ends_a_long_transfer(server, tmp_path):
    finished = long_transfer(server, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert "interrupted" in archive_failure(server, tmp_path, b"")
    assert not finished


def test_ctrl_c_ends_a_transfer_that_is_just_begun(server, tmp_path, monkeypatch):
    begun, submit = threading.Event(), ThreadPoolExecutor.submit

    def start(*arguments, **named):
        submit(*arguments, **named)
        assert begun.wait(60)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", start)
    finished = long_transfer(server, begun.set)
    assert "interrupted" in archive_failure(server, tmp_path, b"")
    assert not finished


def test_a_disk_that_is_full_of_an_archive(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.shutil, "copyfileobj", full)
    with pytest.raises(DataError, match=r"cells: cannot be written \(No space left on device\)"):
        fetch_archive(server, tmp_path / "cells", zipped(GOOD))
    assert list(tmp_path.iterdir()) == []
