"""Fetches the ISBI-2012 slices: all of them, checked, or none."""

import hashlib
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from unet_exp.data.images import read_image
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
_LAYOUT = "train/image/N.png, train/label/N.png and test/image/N.png"


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
    """Download the three stacks into `root`, which appears complete and checked, or not at all.

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
    root = root.resolve()
    side = root.with_name(f".{uuid.uuid4().hex}.download")
    new_parents = [parent for parent in root.parents if not parent.exists()]
    files = {f"{folder}/{n}.png": f"{base}/{_SERVED_IN[folder]}/{n}.png" for folder in checksums for n in range(slices)}
    Console(stderr=True, highlight=False).print(f"downloading from {base}; {TERMS}", soft_wrap=True)
    try:
        for folder in checksums:
            (side / folder).mkdir(parents=True)
        _download(side, files, root, retries, timeout, threads)
        _check(side, files, checksums, base, root)
        _publish(side, root)
    except KeyboardInterrupt:
        raise _failure(base, "interrupted", root) from None
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror or error}); mend that, or set data.root elsewhere"
        ) from None
    finally:
        shutil.rmtree(side, ignore_errors=True)
        for parent in new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _failure(url: str, reason: str, root: Path) -> DataError:
    return DataError(
        f"{url}: {reason}, so the ISBI-2012 download was given up; try again, or put {_LAYOUT} "
        f"into {root} (data.root) by hand"
    )


class _GivenUp(Exception):
    """A download for which another attempt is useless."""


def _download(side: Path, files: Mapping[str, str], root: Path, retries: int, timeout: float, threads: int) -> None:
    """Bring all files (name below `side`: address), or raise the first failure."""
    import pooch  # Here because it takes 0.3 s, and most runs have their data.
    import requests

    terminal = Console(stderr=True)
    stop = threading.Event()
    get = pooch.HTTPDownloader(timeout=timeout)

    def attempt(url: str, output_file: Any, store: Any) -> None:
        if stop.is_set():
            raise _GivenUp("another file failed")
        try:
            get(url, output_file, store)
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if 400 <= status < 500 and status not in (408, 429):  # It will say the same again.
                raise _GivenUp(_reason(error, timeout)) from None
            raise

    store = pooch.create(
        path=side, base_url="", registry=dict.fromkeys(files), urls=dict(files), retry_if_failed=retries
    )
    with (
        _quiet(pooch.get_logger()),
        ThreadPoolExecutor(threads) as pool,
    ):
        jobs = {pool.submit(store.fetch, name, downloader=attempt): name for name in files}
        try:
            done = as_completed(jobs)
            for job in track(
                done, "ISBI-2012", len(files), console=terminal, transient=True, disable=not terminal.is_terminal
            ):
                url = files[jobs[job]]
                try:
                    job.result()
                except _GivenUp as error:
                    raise _failure(url, str(error), root) from None
                except (requests.RequestException, ValueError) as error:
                    raise _failure(url, _reason(error, timeout), root) from None
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _reason(error: Exception, timeout: float) -> str:
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


def _check(side: Path, files: Mapping[str, str], checksums: Mapping[str, str], base: str, root: Path) -> None:
    """Compare the decoded pixels with the published ones."""
    digests = {folder: hashlib.sha256() for folder in checksums}
    for name, url in files.items():
        try:
            pixels = read_image(side / name)
        except DataError as error:
            what = str(error).removeprefix(f"{side / name}: ").split(";")[0]
            raise _failure(url, f"what arrived is no slice ({what})", root) from None
        digests[name.rpartition("/")[0]].update(pixels.tobytes())
    for folder, wanted in checksums.items():
        if digests[folder].hexdigest() != wanted:
            raise _failure(f"{base}/{_SERVED_IN[folder]}", "the pixels are not the published ones (sha256)", root)


def _publish(side: Path, root: Path) -> None:
    try:
        side.replace(root)
    except OSError:
        if not (root / "train" / "image").is_dir():  # Else another process was faster, and its copy is as good.
            raise


@contextmanager
def _quiet(log: logging.Logger) -> Iterator[None]:
    """No lines of pooch's own on stderr."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
