"""Fetches public data sets: all of their files, checked, or none.

`fetch` brings the ISBI-2012 slices one by one, `fetch_archive` a ZIP archive; what they share stands below them. pooch
transfers each file and tries again. It knows no set of files that appears as a whole, no checksum of pixels, no end of
the other transfers when one fails, and would load an archive again whose checksum is wrong: that is done here.
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
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from unet_exp.data.io.archive import BadArchive, unpack
from unet_exp.data.io.images import read_image
from unet_exp.errors import DataError

BASE_URL = "https://raw.githubusercontent.com/zhixuhao/unet/b45af4d458437d8281cc218a07fd4380818ece4a/data/membrane"
URL_VARIABLE = "UNET_EXP_ISBI2012_URL"
"""Environment variable that names another server."""
TERMS = (
    "ISBI-2012 is free for developing and comparing segmentation software for non-commercial ends; "
    "cite Cardona et al., PLoS Biology 2010, and TrakEM2 (Cardona et al., PLoS ONE 2012)"
)
SLICES = 30
CHECKSUMS = {
    "train/image": "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760",
    "train/label": "a7cb64000a1a7e542682927e19c91339f58f9f178e0bcce4e207371116f0ca36",
    "test/image": "1b58fa7ec1d0ff9d39a855622db3ff66a97863036339b0d04be51b2f5a99b0e9",
}
"""sha256 over the decoded uint8 pixels of each folder's slices, one after another."""

_SERVED_IN = {"train/image": "train/image", "train/label": "train/label", "test/image": "test"}


@dataclass(frozen=True)
class Download:
    """One data set on its way.

    Attributes:
        name: for messages.
        url: of the archive, or of the folder with its files.
        terms: on which it may be used, told before the download.
        root: where it goes, an absolute path.
        layout: what the user can put there by hand instead.
        expected: a folder below `root` by which a finished copy is known.
    """

    name: str
    url: str
    terms: str
    root: Path
    layout: str
    expected: str

    def failure(self, url: str, reason: str) -> DataError:
        """The one-line error of a download that was given up, for the address at fault."""
        return DataError(
            f"{url}: {reason}, so the {self.name} download was given up; try again, or put {self.layout} "
            f"into {self.root} (data.root) by hand"
        )


def fetch(
    root: Path,
    *,
    base_url: str | None = None,
    checksums: Mapping[str, str] = CHECKSUMS,
    slices: int = SLICES,
    retries: int = 3,
    timeout: float = 30.0,
    threads: int = 4,
) -> None:
    """Download the three stacks of ISBI-2012 into `root`, which appears complete and checked, or not at all.

    Args:
        root: becomes a folder with `train/image/N.png`, `train/label/N.png` and `test/image/N.png`; must not
            exist, or be an empty folder.
        base_url: where `train/image/N.png`, `train/label/N.png` and `test/N.png` are served; None for the
            environment variable `UNET_EXP_ISBI2012_URL`, and without that for the public repository.
        checksums: sha256 of each folder's decoded pixels.
        slices: number of files in each folder.
        retries: how often a file is asked for again, after a wait of 1, 2, ... seconds.
        timeout: seconds without an answer after which an attempt has failed.
        threads: files on the way at the same time.

    Raises:
        DataError: for a download that is refused, interrupted (Ctrl-C too), cut short or altered, and for a
            folder that cannot be written; nothing is left behind.
    """
    base = (base_url or os.environ.get(URL_VARIABLE) or BASE_URL).rstrip("/")
    files = {f"{folder}/{n}.png": f"{base}/{_SERVED_IN[folder]}/{n}.png" for folder in checksums for n in range(slices)}
    layout = "train/image/N.png, train/label/N.png and test/image/N.png"
    job = Download("ISBI-2012", base, TERMS, root.resolve(), layout, "train/image")
    with _publish(job) as content:
        for folder in checksums:
            (content / folder).mkdir(parents=True)
        _download(job, files, content, retries, timeout, threads)
        _check_pixels(job, files, content, checksums)


def fetch_archive(job: Download, folder: str, checksum: str, *, retries: int = 3, timeout: float = 30.0) -> None:
    """Download a ZIP archive; the folder in it becomes `job.root`, complete and checked, or not at all.

    Args:
        job: what is fetched from where; its root must not exist, or be an empty folder.
        folder: the archive's top folder.
        checksum: sha256 of the archive in hexadecimal.
        retries: how often it is asked for again, after a wait of 1, 2, ... seconds.
        timeout: seconds without an answer after which an attempt has failed.

    Raises:
        DataError: as in `fetch`, and for an archive that is damaged or climbs out of its folder.
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


def is_missing(root: Path) -> bool:
    """Whether `root` is not there, or an empty folder: a place for a download.

    Raises:
        DataError: where that cannot be seen.
    """
    try:
        return not root.exists() or (root.is_dir() and not any(root.iterdir()))
    except OSError as error:
        raise DataError(f"{root}: cannot be opened ({error.strerror}); check its permissions") from None


@contextmanager
def _publish(job: Download) -> Iterator[Path]:
    """Yields a name in a new side folder; what is made there takes the place of the root at the end."""
    root = job.root
    side = root.with_name(f".{uuid.uuid4().hex}.download")
    content = side / "content"
    new_parents = [parent for parent in root.parents if not parent.exists()]
    Console(stderr=True, highlight=False).print(f"downloading from {job.url}; {job.terms}", soft_wrap=True)
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
            f"{root}: cannot be written ({error.strerror or error}); mend that, or set data.root elsewhere"
        ) from None
    finally:
        shutil.rmtree(side, ignore_errors=True)
        for parent in new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


class _GiveUp(Exception):
    """A download for which another attempt is useless."""


class _FileProgress:
    """One file's share of a progress bar that counts files, with the methods that pooch calls.

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
        """Nothing is held."""


def _download(
    job: Download, files: Mapping[str, str], folder: Path, retries: int, timeout: float, threads: int
) -> None:
    """Bring all files (name below `folder`: address), or raise the first failure."""
    import pooch  # Here because it takes 0.3 s, and most runs have their data.
    import requests

    terminal = Console(stderr=True)
    stop = threading.Event()
    progress = Progress(console=terminal, transient=True, disable=not terminal.is_terminal)
    bar = progress.add_task(job.name, total=len(files))

    def attempt(url: str, output_file: Any, store: Any) -> None:
        if stop.is_set():
            raise _GiveUp("another file failed")
        share = _FileProgress(lambda step: progress.advance(bar, step), stop)
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
    with progress, ThreadPoolExecutor(threads) as pool:
        jobs = {pool.submit(store.fetch, name, downloader=attempt): url for name, url in files.items()}
        try:
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
    """A few words for what `requests` tells in many."""
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


def _check_pixels(job: Download, files: Mapping[str, str], content: Path, checksums: Mapping[str, str]) -> None:
    """Compare the decoded pixels with the published ones."""
    digests = {folder: hashlib.sha256() for folder in checksums}
    for name, url in files.items():
        try:
            pixels = read_image(content / name)
        except DataError as error:
            what = str(error).removeprefix(f"{content / name}: ").split(";")[0]
            raise job.failure(url, f"what arrived is no slice ({what})") from None
        digests[name.rpartition("/")[0]].update(pixels.tobytes())
    for folder, wanted in checksums.items():
        if digests[folder].hexdigest() != wanted:
            raise job.failure(f"{job.url}/{_SERVED_IN[folder]}", "the pixels are not the published ones (sha256)")
