"""What a window of a large file costs beside all of it, for each kind of file that is read by window."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_report import make_result_file, make_table_console, write_results

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.config.values import Count
from unet_exp.errors import ConfigError
from unet_exp.schema import Strict, validate

USAGE = """Measure what windows of large files cost: seconds, and the peak of resident memory.

Usage: python scripts/benchmark_windows.py [kinds=[nifti,hdf5]] [key=value] ...

  kinds    of files (all): numpy, tiff, nifti, nifti_gz, hdf5, zarr, dicom
  slices   of each volume (256)
  side     of a slice in pixels (1024): 16 bits each
  window   side of a window in pixels (256)
  windows  read from slices that are drawn at random (20)
  output   folder of benchmark_windows.json (outputs/benchmark)

Each kind is written to a temporary folder, and read by two processes: one reads windows, one reads all slices one after
the other. The memory is what the process takes beyond what it took before it opened the file. The system keeps the file
in its own cache, so that this is no measure of the disk. For Linux and macOS.
"""


class WindowBenchmark(Strict):
    """The entry point's own keys."""

    kinds: list[str]
    slices: Count
    side: Count
    window: Count
    windows: Count
    output: str


@dataclass(frozen=True)
class Cost:
    """What reading took.

    Attributes:
        kind: of the file.
        size: of the file, bytes.
        window_seconds: of one window, on the average.
        window_memory: bytes, for all windows.
        whole_seconds: for all slices.
        whole_memory: bytes.
    """

    kind: str
    size: int
    window_seconds: float
    window_memory: int
    whole_seconds: float
    whole_memory: int


Slices = Iterator[np.ndarray[Any, np.dtype[np.uint16]]]


def make_slices(count: int, side: int) -> Slices:
    """Slices (side, side) of a smooth pattern with noise, which compresses as images do."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 64, (side, side), np.uint16)
    wave = (1000 + 500 * np.sin(np.arange(side) / 40)).astype(np.uint16)
    for number in range(count):
        yield wave[:, None] + np.roll(noise, number, axis=1)


def _chunks(count: int, side: int) -> tuple[int, int, int]:
    return min(8, count), min(256, side), min(256, side)


def _write_numpy(folder: Path, count: int, side: int) -> Path:
    path = folder / "volume.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint16, (count, side, side, 1))
    for number, one in enumerate(make_slices(count, side)):
        array[number, :, :, 0] = one
    return path


def _write_tiff(folder: Path, count: int, side: int) -> Path:
    from tifffile import TiffWriter

    path = folder / "volume.tif"
    with TiffWriter(path, bigtiff=True) as tiff:
        for one in make_slices(count, side):
            tiff.write(one, tile=(256, 256), compression="zlib", metadata=None)
    return path


def _write_nifti(folder: Path, count: int, side: int, suffix: str = ".nii") -> Path:
    import nibabel

    path = folder / f"volume{suffix}"
    array = np.stack(list(make_slices(count, side))).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)  # type: ignore[no-untyped-call]
    return path


def _write_nifti_gz(folder: Path, count: int, side: int) -> Path:
    return _write_nifti(folder, count, side, ".nii.gz")


def _write_hdf5(folder: Path, count: int, side: int) -> Path:
    import h5py

    path = folder / "volume.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", (count, side, side), np.uint16, chunks=_chunks(count, side), compression=4)
        for number, one in enumerate(make_slices(count, side)):
            array[number] = one
    return path


def _write_zarr(folder: Path, count: int, side: int) -> Path:
    import zarr

    path = folder / "volume.zarr"
    array = zarr.create_array(path, shape=(count, side, side), chunks=_chunks(count, side), dtype="uint16")
    for number, one in enumerate(make_slices(count, side)):
        array[number] = one
    return path


def _write_dicom(folder: Path, count: int, side: int) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid

    path = folder / "volume.dcm"
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.SOPClassUID, file.SOPInstanceUID = (
        file.file_meta.MediaStorageSOPClassUID,
        file.file_meta.MediaStorageSOPInstanceUID,
    )
    file.Modality = "OT"
    file.Rows, file.Columns, file.NumberOfFrames = side, side, count
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelData = b"".join(one.tobytes() for one in make_slices(count, side))
    file.save_as(path, enforce_file_format=True)
    return path


WRITERS: dict[str, Callable[[Path, int, int], Path]] = {
    "numpy": _write_numpy,
    "tiff": _write_tiff,
    "nifti": _write_nifti,
    "nifti_gz": _write_nifti_gz,
    "hdf5": _write_hdf5,
    "zarr": _write_zarr,
    "dicom": _write_dicom,
}
DEFAULTS: dict[str, Any] = {
    "kinds": list(WRITERS),
    "slices": 256,
    "side": 1024,
    "window": 256,
    "windows": 20,
    "output": "outputs/benchmark",
}


def _measure_memory() -> int:
    """The peak of resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read_windows(path: Path, window: int, windows: int) -> tuple[float, int]:
    """Reads windows of random slices, in a process of its own; returns seconds for each, and bytes for all."""
    from unet_exp.io.images import open_images
    from unet_exp.io.scene import Reading

    rng, before = np.random.default_rng(1), _measure_memory()
    start = time.perf_counter()
    with open_images(path, Reading()) as images:
        for _ in range(windows):
            page = int(rng.integers(len(images)))
            height, width, _channels = images.size(page)
            top, left = int(rng.integers(height - window + 1)), int(rng.integers(width - window + 1))
            images.region(page, top, left, window, window)
    return (time.perf_counter() - start) / windows, _measure_memory() - before


def read_all(path: Path) -> tuple[float, int]:
    """Reads all slices one after the other, likewise."""
    from unet_exp.io.images import open_images
    from unet_exp.io.scene import Reading

    before, start = _measure_memory(), time.perf_counter()
    with open_images(path, Reading()) as images:
        for page in range(len(images)):
            images.page(page)
    return time.perf_counter() - start, _measure_memory() - before


def _run_alone(function: Callable[..., tuple[float, int]], *arguments: Any) -> tuple[float, int]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(kind: str, task: WindowBenchmark) -> Cost:
    """Writes a file of a kind, and measures what reading it costs."""
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a small process starts small ones
            path = pool.submit(WRITERS[kind], Path(folder), task.slices, task.side).result()
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        part = _run_alone(read_windows, path, task.window, task.windows)
        whole = _run_alone(read_all, path)
        return Cost(kind, sum(file.stat().st_size for file in files), *part, *whole)


def benchmark_windows(values: dict[str, Any]) -> list[Cost]:
    """Measures the kinds that are asked for, prints a table and writes `benchmark_windows.json`.

    Raises:
        ConfigError: for an unknown kind or key, or a window that is larger than a slice.
    """
    from rich.table import Table

    task = validate(WindowBenchmark, values)
    for kind in task.kinds:
        if kind not in WRITERS:
            raise ConfigError(f"kinds={kind}: no such kind; choose from {', '.join(WRITERS)}")
    if task.window > task.side:
        raise ConfigError(f"window={task.window} is larger than side={task.side}; take a smaller one")
    target = make_result_file(task.output, "benchmark_windows.json")
    costs = [measure(kind, task) for kind in task.kinds]
    decoded = task.slices * task.side**2 * 2
    table = Table(title=f"{task.slices} slices of {task.side} x {task.side}, 16 bits: {decoded / 1e6:.0f} MB decoded")
    for column in ("kind", "file, MB", "a window, ms", "windows, MB", "all slices, s", "all slices, MB"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for cost in costs:
        of_window = f"{1e3 * cost.window_seconds:.1f}", f"{cost.window_memory / 1e6:.0f}"
        of_whole = f"{cost.whole_seconds:.2f}", f"{cost.whole_memory / 1e6:.0f}"
        table.add_row(cost.kind, f"{cost.size / 1e6:.0f}", *of_window, *of_whole)
    make_table_console().print(table)
    write_results(target, {"settings": task.model_dump(), "costs": [asdict(cost) for cost in costs]})
    return costs


def main() -> None:
    run_with_own_keys(USAGE, DEFAULTS, benchmark_windows)


if __name__ == "__main__":
    main()
