"""The processes that share a training: how they meet, what they tell each other, and what ends them together.

They meet at a store of torch.distributed. The first one prepares the training alone, so that downloads, caches and
mistakes come once; then it tells the others the run, and they prepare it too. Each looks at the store while it waits,
and finds there why another one has ended.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

from unet_exp.config import duration_seconds
from unet_exp.config.running import TrainerConfig
from unet_exp.errors import ConfigError, TrainingError, UserError
from unet_exp.inference.device import resolve_device
from unet_exp.progress import watch
from unet_exp.runs.conditions import Conditions
from unet_exp.runs.run_folder import RunFolder
from unet_exp.signals import Stopped
from unet_exp.training.processes import GUIDE, Place, find_started
from unet_exp.training.store import LOOKS, open_store, serve_store

_stores: Any = dist  # PyTorch's stubs lack them
_STARTS = 120
"""Seconds that a process has at least from its start until it comes."""
_ENDS = 5.0
"""Seconds in which the others end by themselves when the first one ends."""
_LOST = re.compile(
    "gloo|NCCL|[Cc]onnection (closed|reset|refused|timed out|was likely closed)|[Tt]imed out waiting|Broken pipe|"
    "wait timeout|recvBytes|heartbeat"
)
"""In messages of PyTorch: another process does not answer."""


@dataclass(frozen=True)
class SharedRun:
    """What the first process tells the others.

    Attributes:
        folder: of the run.
        checkpoint: from which it is resumed; None: from the beginning.
        conditions: of the first process, under which the others compute too.
    """

    folder: str
    checkpoint: str | None
    conditions: dict[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, checkpoint: Path | None, conditions: Conditions) -> Self:
        """As it goes to other machines."""
        place = None if checkpoint is None else str(checkpoint.resolve())
        return cls(str(folder.path.resolve()), place, conditions.model_dump())


def find_place(trainer: TrainerConfig) -> Place:
    """The place of this process among those that share its training; of one that starts them, the first.

    Raises:
        ConfigError: if this machine has not so many devices, or not so many processes were started.
    """
    started = find_started(trainer)
    if started is None:
        count = count_devices(trainer)
        return Place(world=count, local_world=count)
    device, available = resolve_device(trainer.accelerator).type, torch.cuda.device_count()
    sees_its_own = started.starter == "srun" and available == 1
    if device == "mps" or (device == "cuda" and available < started.local_world and not sees_its_own):
        raise ConfigError(
            f"{started.starter} started {started.local_world} processes on this machine, and it has "
            f"{available or 1} {device} devices; start one process for each"
        )
    return started


def count_devices(trainer: TrainerConfig) -> int:
    """How many devices of this machine `trainer.devices` means; on its CPU, how many processes.

    Raises:
        ConfigError: if this machine has not so many.
    """
    device = resolve_device(trainer.accelerator)
    available = torch.cuda.device_count() if device.type == "cuda" else 1
    wanted = available if trainer.devices == "auto" else trainer.devices
    if wanted > available and device.type != "cpu":
        raise ConfigError(f"trainer.devices={wanted}: there are {available} here; take at most so many, or auto")
    return wanted


def gather(value: Any) -> list[Any]:
    """A value of each process, in their order; all of them call it."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def largest_of(*numbers: int) -> list[int]:
    """The largest of each of these numbers in any process; all of them call it."""
    found = torch.tensor(numbers)  # on the CPU: to ask a GPU would wait for it
    dist.all_reduce(found, dist.ReduceOp.MAX)
    largest: list[int] = found.tolist()
    return largest


class Group:
    """The processes of a training, from this one's point of view; a block that ends by an error tells the others.

    Args:
        trainer: of the config.
        place: of this process.
    """

    def __init__(self, trainer: TrainerConfig, place: Place) -> None:
        self.place = place
        self._trainer = trainer
        self._limit = duration_seconds(trainer.peer_timeout)
        self._store: Any = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._began = time.monotonic()

    @property
    def shared(self) -> bool:
        """Whether there is more than one process."""
        return self.place.world > 1

    @property
    def first(self) -> bool:
        """Whether this is the first process."""
        return self.place.rank == 0

    @property
    def device_index(self) -> int:
        """Of the GPU of this process."""
        return self.place.local_rank if torch.cuda.device_count() >= self.place.local_world else 0

    def __enter__(self) -> Self:
        """Meets the others, if something else has started them.

        Raises:
            UserError: if one does not come, or the first one cannot be reached.
        """
        if self.shared and resolve_device(self._trainer.accelerator).type == "cuda":
            torch.cuda.set_device(self.device_index)
        if self.shared and (self.place.port or not self.first):
            with self._telling():
                self._meet()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Tells the others that this one ends, and why."""
        del kind, at
        if not self.shared:
            return
        over = "over" if self.first else f"gone/{self.place.rank}"
        told = self._set_quietly(over) if error is None else self._tell_failure(error)
        if dist.is_initialized() and (error is None or dist.get_backend() == "gloo"):
            dist.destroy_process_group()  # whoever waits for this process in a step notices it
        if self.first and told:
            self._stay()
        self._end_children()
        if isinstance(error, UserError | Stopped) and told and not self.first and self.place.starter == "first":
            raise SystemExit(2)  # the first process reports it, in the same terminal

    def share(self, run: SharedRun) -> None:
        """Starts the other processes if nothing else has, and tells them the run; the first process calls it.

        Raises:
            TrainingError: if one does not come.
        """
        if not self.shared:
            return
        if not self.place.port:
            self._store = serve_store(0)
            self._start_others(replace(self.place, port=self._store.port))
            self._meet()
        self._set("run", json.dumps(asdict(run)))

    def receive(self) -> SharedRun:
        """Waits until the first process has prepared the run.

        Raises:
            TrainingError: if it could not.
        """
        self._wait(["run"])
        return SharedRun(**json.loads(self._store.get("run")))

    def connect(self, device: torch.device) -> None:
        """Waits until all are prepared, and makes the process group in which they train.

        Raises:
            TrainingError: if one could not prepare it, or does not answer.
        """
        if not self.shared:
            return
        self._set(f"ready/{self.place.rank}")
        if self.first:
            # The others prepare what this one has prepared.
            self._wait_for_all("ready", "prepare the training", self._limit + 2 * (time.monotonic() - self._began))
            self._set("go")
        else:
            self._wait(["go"])
        with self.explain():
            dist.init_process_group(
                # Objects and wishes go over the CPU, where a lost process is noticed at once.
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=_stores.PrefixStore("group", self._store),
                rank=self.place.rank,
                world_size=self.place.world,
                timeout=timedelta(seconds=self._limit),
            )

    def wait_for_end(self) -> None:
        """Waits, in the other processes, until the first one has ended what it does alone."""
        with suppress(TrainingError):
            self._wait(["over"])

    @contextmanager
    def explain(self, advice: str = "") -> Iterator[None]:
        """Turns the error of a step whose other processes are lost into one line.

        Args:
            advice: what to do when that is mended.

        Raises:
            TrainingError: with the reason, if it is known.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.shared or not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
                raise
            raise TrainingError(self._find_failure() or self._describe_loss(str(error)) + advice) from None

    def _find_failure(self) -> str | None:
        """What another process says about its end; it says that before it closes its connections."""
        with suppress(dist.DistError):
            if self._store.check(["failed"]):
                return str(self._store.get("failed").decode())
        return None

    def _describe_loss(self, message: str) -> str:
        if "imed out" in message or "timeout" in message:
            return (
                f"another of the {self.place.world} processes did not answer within trainer.peer_timeout="
                f"{self._trainer.peer_timeout}; see whether it still runs"
            )
        for rank, child in enumerate(self._children, start=1):
            with suppress(subprocess.TimeoutExpired):
                return _describe_end(rank, child.wait(1))
        cause = f" ({' '.join(message.split())[-200:]})" if "connectFullMesh" in message else ""
        return f"another of the {self.place.world} processes was killed, or its machine is gone{cause}"

    def _meet(self) -> None:
        if self._store is None:
            self._store = open_store(self.place, self._limit)
        self._set(f"here/{self.place.rank}")
        if self.first:
            # Those that it starts itself import PyTorch first, and it sees them if they end.
            self._wait_for_all("here", "come", max(self._limit, _STARTS) if self._children else self._limit)

    def _start_others(self, place: Place) -> None:
        """Starts this command once for each further process."""
        self.place = place
        for rank in range(1, place.world):
            environment = replace(place, rank=rank, local_rank=rank).write_environment(os.environ)
            self._children.append(subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment))

    def _wait_for_all(self, key: str, doing: str, limit: float) -> None:
        """Waits for a key of each process.

        Raises:
            TrainingError: if one fails or does not come in so many seconds.
        """
        until = time.monotonic() + limit
        with watch(f"waiting until all {self.place.world} processes {doing}"):
            for rank in range(1, self.place.world):
                self._wait(
                    [f"{key}/{rank}"],
                    until,
                    f"process {rank} of {self.place.world} (counted from 0) did not {doing} within {limit:.0f} s "
                    f"(trainer.peer_timeout={self._trainer.peer_timeout}): are all of them started, with MASTER_ADDR="
                    f"{self.place.address} MASTER_PORT={self.place.port}? See {GUIDE}",
                )

    def _wait(self, keys: list[str], until: float | None = None, missing: str = "") -> None:
        while True:
            with self.explain():
                if self._store.check(keys):
                    return
                if reason := self._find_failure():
                    raise TrainingError(reason)
            for rank, child in enumerate(self._children, start=1):
                if child.poll() is not None:
                    raise TrainingError(_describe_end(rank, child.returncode))
            if until is not None and time.monotonic() > until:
                raise TrainingError(missing)
            time.sleep(LOOKS)

    def _set(self, key: str, value: str = "") -> None:
        with self.explain():
            self._store.set(key, value)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """A block of `__enter__`, after which there is no `__exit__` if it fails."""
        try:
            yield
        except BaseException as error:
            self._tell_failure(error)
            raise

    def _tell_failure(self, error: BaseException) -> bool:
        """Writes to the store why this process ends, unless another has; whether that could be done."""
        reason = str(error) if isinstance(error, UserError | Stopped) else f"{type(error).__name__}: {error}"
        told = self._set_quietly("failed", f"process {self.place.rank} of {self.place.world}: {reason}")
        return told and self._set_quietly(f"gone/{self.place.rank}")

    def _set_quietly(self, key: str, value: str = "") -> bool:
        """Sets a key that is not set; whether the store is there."""
        with suppress(dist.DistError):
            if self._store is not None and not self._store.check([key]):
                self._store.set(key, value)
            return self._store is not None
        return False

    def _stay(self) -> None:
        """Keeps the store until the others have looked at it: with the first process it is gone."""
        until = time.monotonic() + _ENDS
        with suppress(dist.DistError):
            while time.monotonic() < until:
                if all(self._store.check([f"gone/{rank}"]) for rank in range(1, self.place.world)):
                    return
                time.sleep(LOOKS)

    def _end_children(self) -> None:
        """Waits for the processes that this one started, and kills those that do not end."""
        until = time.monotonic() + _ENDS
        with ExitStack() as stack:
            for child in self._children:
                stack.callback(child.wait)
                stack.callback(child.kill)
            for child in self._children:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(max(until - time.monotonic(), 0))


def _describe_end(rank: int, code: int) -> str:
    """What the exit code of another process says; negative for a signal."""
    if code < 0:
        return f"process {rank} was killed ({signal.Signals(-code).name}); by SIGKILL the system ends what lacks memory"
    return f"process {rank} has ended with exit code {code}"
