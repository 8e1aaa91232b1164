"""Fetches public data sets: all of their files, checked, or none.

pooch transfers each file and tries again. It has no set of files that appears as a whole, no checksum of pixels, no end
of the other transfers when one fails, and would load an archive with a wrong checksum again: that is done here.
"""

import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from unet_exp.console import make_console
from unet_exp.errors import DataError
from unet_exp.io.archive import BadArchive, unpack
from unet_exp.progress import Phase, watch


@dataclass(frozen=True)
class Download:
    """A data set to download.

    Attributes:
        name: for messages.
        url: of the archive, or of the folder with its files.
        terms: of its use, printed before the download.
        root: its destination, an absolute path.
        layout: what the user can put there by hand instead.
        expected: a folder below `root` that shows a finished copy.
    """

    name: str
    url: str
    terms: str
    root: Path
    layout: str
    expected: str

    def failure(self, url: str, reason: str) -> DataError:
        """The one-line error of a download that ends here, for the address at fault."""
        return DataError(
            f"{url}: {reason}, so the {self.name} download was given up; try again, or put {self.layout} "
            f"into {self.root} (data.root) by hand"
        )


def fetch_files(
    job: Download,
    files: Mapping[str, str],
    check: Callable[[Path], None],
    *,
    retries: int = 3,
    timeout: float = 30.0,
    threads: int = 4,
) -> None:
    """Downloads files into `job.root`, which appears complete and checked, or not at all.

    Args:
        job: the data set; its root must not exist, or be an empty folder.
        files: address of each file by its name below the root.
        check: raises a DataError if the folder of the files is not as published.
        retries: further attempts a file, after a wait of 1, 2, ... seconds.
        timeout: seconds without an answer after which an attempt has failed.
        threads: simultaneous transfers.

    Raises:
        DataError: for a download that is refused, interrupted (Ctrl-C too), cut short or altered, and for a
            folder that cannot be written; nothing is left behind.
    """
    with _publish(job) as content:
        for folder in {(content / name).parent for name in files}:
            folder.mkdir(parents=True)
        _download(job, files, content, retries, timeout, threads)
        check(content)


def fetch_archive(job: Download, folder: str, checksum: str, *, retries: int = 3, timeout: float = 30.0) -> None:
    """Downloads a ZIP archive; its `folder` becomes `job.root`, complete and checked, or not at all; see `fetch_files`.

    Raises:
        DataError: as `fetch_files`, and for an archive with another sha256 than `checksum`, or damaged, or unsafe.
    """
    with _publish(job) as content:
        # Both lie inside the side folder too, and are gone with it.
        packed, unpacked = content.with_name("archive.zip"), content.with_name("unpacked")
        _download(job, {packed.name: job.url}, packed.parent, retries, timeout, threads=1)
        with packed.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != checksum:
            raise job.failure(job.url, f"what arrived is not the published archive (sha256 {digest})")
        try:
            unpack(packed, unpacked)
        except BadArchive as error:
            raise job.failure(job.url, f"the archive {error}") from None
        if not (unpacked / folder / job.expected).is_dir():
            raise job.failure(job.url, f"the archive holds no folder {folder}/{job.expected}")
        (unpacked / folder).replace(content)


def needs_download(root: Path, allowed: bool, layout: str) -> bool:
    """Whether `root` does not exist, or is an empty folder: a place for a download.

    Raises:
        DataError: if it is one and `data.download` does not allow it, and for a folder that cannot be opened.
    """
    try:
        missing = not root.exists() or (root.is_dir() and not any(root.iterdir()))
    except OSError as error:
        raise DataError(f"{root}: cannot be opened ({error.strerror}); check its permissions") from None
    if missing and not allowed:
        raise DataError(
            f"data.root={root}: there are no data; check the path, which needs {layout}, or add data.download=true, "
            "which puts them there"
        )
    return missing


def server_url(variable: str, public: str) -> str:
    """The server in an environment variable, else the public one."""
    return (os.environ.get(variable) or public).rstrip("/")


@contextmanager
def _publish(job: Download) -> Iterator[Path]:
    """Yields a name in a new side folder; what is made there takes the place of the root at the end."""
    root = job.root
    side = root.with_name(f".{uuid.uuid4().hex}.download")
    content = side / "content"
    new_parents = [parent for parent in root.parents if not parent.exists()]
    make_console(stderr=True).print(f"downloading from {job.url}; {job.terms}", soft_wrap=True)
    try:
        side.mkdir(parents=True)
        yield content
        try:
            content.replace(root)
        except OSError:
            if not (root / job.expected).is_dir():  # Else another process was faster, and its copy is as good.
                raise
    except KeyboardInterrupt:
        raise job.failure(job.url, "interrupted") from None
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror or error}); change that, or set data.root elsewhere"
        ) from None
    finally:
        shutil.rmtree(side, ignore_errors=True)
        for parent in new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


class _GiveUp(Exception):
    """Ends a download for which another attempt is useless."""


class _FileProgress:
    """Advances a progress bar that counts files by one file's share, with the methods that pooch calls.

    It also ends the transfer once `stop` is set: a large file would otherwise go on after Ctrl-C.
    """

    def __init__(self, advance: Callable[[float], None], stop: threading.Event) -> None:
        self.total = 0  # Bytes; pooch sets it, to 0 where the server does not say.
        self._advance = advance
        self._stop = stop
        self._shown = 0.0

    def update(self, count: int) -> None:
        if self._stop.is_set():
            raise _GiveUp("another file failed")
        step = min(count / self.total, 1 - self._shown) if self.total else 0.0
        self._shown += step
        self._advance(step)

    def reset(self) -> None:
        self._advance(-self._shown)
        self._shown = 0.0

    def close(self) -> None:
        """Pooch calls it; there is nothing to close."""


def _download(
    job: Download, files: Mapping[str, str], folder: Path, retries: int, timeout: float, threads: int
) -> None:
    """Downloads all files (name below `folder`: address), or raises the first failure."""
    import pooch  # Here because it takes 0.3 s, and most runs have their data.
    import requests

    terminal = make_console(stderr=True)
    stop = threading.Event()
    progress = Progress(console=terminal, transient=True, disable=not terminal.is_terminal)
    bar = progress.add_task(job.name, total=len(files))

    def advance(phase: Phase, step: float) -> None:
        progress.advance(bar, step)
        phase.done += step
        phase.state = f"{phase.done / len(files):.0%}"

    def attempt(url: str, output_file: Any, store: Any) -> None:
        if stop.is_set():
            raise _GiveUp("another file failed")
        share = _FileProgress(partial(advance, phase), stop)
        try:
            pooch.HTTPDownloader(progressbar=share, chunk_size=2**16, timeout=timeout)(url, output_file, store)
        except requests.RequestException as error:
            share.reset()
            status = 0 if error.response is None else error.response.status_code
            if 400 <= status < 500 and status not in (408, 429):  # It will say the same again.
                raise _GiveUp(_explain(error, timeout)) from None
            raise

    store = pooch.create(
        path=folder, base_url="", registry=dict.fromkeys(files), urls=dict(files), retry_if_failed=retries
    )
    pooch.get_logger().setLevel("WARNING")
    with watch(f"downloading {job.name}", len(files)) as phase, progress, ThreadPoolExecutor(threads) as pool:
        try:
            jobs = {pool.submit(store.fetch, name, downloader=attempt): url for name, url in files.items()}
            for done in as_completed(jobs):
                try:
                    done.result()
                except _GiveUp as error:
                    raise job.failure(jobs[done], str(error)) from None
                except (requests.RequestException, ValueError) as error:
                    raise job.failure(jobs[done], _explain(error, timeout)) from None
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _explain(error: Exception, timeout: float) -> str:
    """The error of a transfer in a few words."""
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split()) or type(error).__name__
