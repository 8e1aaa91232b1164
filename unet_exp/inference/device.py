"""Device and precision behind `auto` on this machine, and the memory that a run takes there."""

import gc
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import torch

from unet_exp.errors import ConfigError, UserError
from unet_exp.geometry import AnyArchitecture, CustomArchitecture
from unet_exp.memory import release_freed_memory
from unet_exp.runs.conditions import Layout, Layouts


def resolve_device(accelerator: str) -> torch.device:
    """Returns the device for `trainer.accelerator` on this machine.

    Raises:
        ConfigError: if this machine does not have it.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind = accelerator if accelerator != "gpu" else "mps" if mps and not cuda else "cuda"
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise ConfigError(f"trainer.accelerator={accelerator}: PyTorch finds none here; take auto or cpu")
    return torch.device(kind)


def use_gpu(slot: int) -> None:
    """Makes a GPU of this machine the one behind `cuda`, for one of several processes that share out work.

    Args:
        slot: the number of this process on this machine, from 0; more processes than GPUs share these.
    """
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(slot % torch.cuda.device_count())


def resolve_precision(precision: str, device: torch.device) -> str:
    """Returns the precision for `trainer.precision` on a device.

    Raises:
        ConfigError: for 16-mixed on a CPU, which Lightning would silently change.
    """
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError("trainer.precision=16-mixed needs a GPU; on a CPU take 32, bf16-mixed or auto")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16-mixed" if fast else "32"


def choose_layouts(
    channels_last: bool | Literal["auto"], device: torch.device, precision: str, architecture: AnyArchitecture
) -> Layouts:
    """Returns the memory layouts for `trainer.channels_last` on a device.

    `auto` is a rule, so that equal commands on equal machines choose alike; the measurements behind it are in
    docs/performance.md. On a CPU in float32 the forward pass is faster in channels_last, and the backward pass only
    where the processor has AVX-512. PyTorch's instance norm is slow in channels_last, and so is its group norm on a GPU
    and in the backward pass of mixed precision.

    Args:
        channels_last: the key.
        device: of the network.
        precision: resolved.
        architecture: of the network.
    """
    if channels_last == "auto":
        norm = None if isinstance(architecture, CustomArchitecture) else architecture.norm
        full, cpu = precision == "32", device.type == "cpu"
        prediction = norm != "instance" and (cpu or (device.type == "cuda" and norm != "group"))
        training = prediction and (full or norm != "group")
        if cpu and full:
            training &= torch.backends.cpu.get_cpu_capability() == "AVX512"
    else:
        training = prediction = channels_last
    words: tuple[Layout, Layout] = ("contiguous", "channels_last")
    return Layouts(training=words[training], prediction=words[prediction])


def memory_format(layout: Layout) -> torch.memory_format:
    """PyTorch's constant of a layout."""
    return torch.channels_last if layout == "channels_last" else torch.contiguous_format


@contextmanager
def explain_out_of_memory(advice: str) -> Iterator[None]:
    """Turns the many out-of-memory errors of PyTorch into one line.

    Raises:
        UserError: with `advice`.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        message = str(error).lower()
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "t allocate memory" not in message:
            raise
        raise UserError(f"there is not enough memory: {advice}") from None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of a resolved precision."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "32")


def reset_peak_memory(device: torch.device) -> None:
    """Resets `peak_memory`, so that a run does not report the peak of an earlier one in this process."""
    if device.type == "cuda":
        gc.collect()  # an earlier run's network may be in a reference cycle
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        release_freed_memory()
        with suppress(OSError):  # a sandbox may forbid it; psutil resets no peak
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """The most memory since `reset_peak_memory`, in bytes.

    On a GPU it is that of tensors; else the resident set size of the process, on macOS and Windows, which cannot reset
    it, since its start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    with suppress(OSError, StopIteration):  # Linux: psutil knows no peak there
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

    import resource  # only POSIX has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
