"""Which part of a prediction this process has: as typed, or as the scheduler or launcher that has started it says."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from unet_exp.cli.predict_input import Named
from unet_exp.errors import ConfigError
from unet_exp.inference.large.sharing import Share

AUTO = "auto"
_RANKS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
}
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN")


def check_part(part: object) -> object:
    """Checks the form of the key `part`.

    Raises:
        ValueError: if it is neither `auto` nor a number of a number.
    """
    if part is None or part == AUTO:
        return part
    found = re.fullmatch(r"(\d{1,6})/([1-9]\d{0,5})", part) if isinstance(part, str) else None
    if not found:
        raise ValueError("must be such as 2/8, the second of eight parts, or auto")
    if not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"must be one of 1/{found[2]} to {found[2]}/{found[2]}")
    return part


PartWord = Annotated[str | None, BeforeValidator(check_part), Field(description="such as `2/8` · `auto` · `null`")]


def read_share(part: str | None, environment: Mapping[str, str]) -> Share | None:
    """Reads the key `part`, which is of the right form; None without it.

    Processes that srun or torchrun has started, and the tasks of a SLURM job array, count as parts; of an array whose
    tasks start several processes each, all of these.

    Raises:
        ConfigError: if `auto` finds no part.
    """
    if part is None:
        return None
    if part != AUTO:
        number, count = part.split("/")
        return Share(int(number), int(count))
    array, ranks = _read_array(environment), _read_ranks(environment)
    if array is None and ranks is None:
        raise ConfigError(
            "part=auto finds no number of this process: neither of a SLURM job array (SLURM_ARRAY_TASK_ID), nor of "
            "srun (SLURM_STEP_NUM_TASKS), nor of torchrun (RANK); start it so, or type part=1/8 and so on"
        )
    place, places = array or (0, 1)
    rank, size, slot, slots = ranks or (0, 1, 0, 1)
    return Share(place * size + rank + 1, places * size, slot, slots)


def measure_images(images: Sequence[Named]) -> list[int]:
    """Bytes on the disk of all files of each image; 0 of what cannot be read."""
    return [sum(map(_measure_file, files)) for _, files in images]


def _measure_file(path: Path) -> int:
    from unet_exp.io.stored import split_inner

    place = split_inner(path)[0]
    with suppress(OSError):
        if place.is_dir():
            return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        return place.stat().st_size
    return 0


def _read_array(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The place of this task in its SLURM job array, from 0, and the number of its tasks; None outside of one."""
    numbers = _read_numbers(environment, _ARRAY)
    if numbers is None:
        return None
    task, count, first = numbers
    if count == 1:
        raise ConfigError(
            f"part=auto: this job array has one task, {task}; to run one part again type its number, such as "
            f"part={max(task, 1)}/8"
        )
    (step,) = _read_numbers(environment, ("SLURM_ARRAY_TASK_STEP",)) or [1]
    (last,) = _read_numbers(environment, ("SLURM_ARRAY_TASK_MAX",)) or [first + (count - 1) * step]
    if (task - first) % step or last != first + (count - 1) * step:
        raise ConfigError(
            f"part=auto: the {count} numbers of this job array, {first} to {last}, have gaps; take --array=1-{count}, "
            "or type part=k/n, such as part=2/8"
        )
    return (task - first) // step, count


def _read_ranks(environment: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    """The rank of this process, the number of all, and both on this machine; None if nothing has started several."""
    for rank, size, slot, slots in _RANKS.values():
        numbers = _read_numbers(environment, (rank, size))
        if numbers is not None:
            # SLURM writes the tasks of each node, such as `2(x3),1`.
            here = [int(number) for number in re.findall(r"(?:^|,)(\d+)", environment.get(slots, ""))]
            return numbers[0], numbers[1], (_read_numbers(environment, (slot,)) or [0])[0], max(here, default=1)
    return None


def _read_numbers(environment: Mapping[str, str], names: Sequence[str]) -> list[int] | None:
    """The numbers in some variables; None if one of them holds none."""
    found = [environment.get(name, "") for name in names]
    return [int(number) for number in found] if all(number.isdecimal() for number in found) else None
