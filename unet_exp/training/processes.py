"""Which process of a training this is: the environment says it, as torchrun or srun wrote it. It imports no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unet_exp.config.running import TrainerConfig
from unet_exp.errors import ConfigError

GUIDE = "docs/distributed.md"
_STARTED_BY = "UNET_EXP_STARTED_BY"
"""Distinguishes processes that the first one started from those of torchrun: the first one reports their errors."""


@dataclass(frozen=True)
class Place:
    """A process among those that share a training.

    Attributes:
        rank: from 0.
        world: how many there are.
        local_rank: on its machine, from 0.
        local_world: how many there are on its machine.
        starter: what started them; `first` is the first of them.
        address: where the first one is found.
        port: likewise; 0: it takes a free one.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    starter: Literal["first", "torchrun", "srun"] = "first"
    address: str = "127.0.0.1"
    port: int = 0

    def write_environment(self, others: Mapping[str, str]) -> dict[str, str]:
        """The environment in which `find_started` finds this place, as torchrun would write it."""
        place = {
            "RANK": self.rank,
            "WORLD_SIZE": self.world,
            "LOCAL_RANK": self.local_rank,
            "LOCAL_WORLD_SIZE": self.local_world,
            "MASTER_ADDR": self.address,
            "MASTER_PORT": self.port,
        }
        return {**others, **{key: str(value) for key, value in place.items()}, _STARTED_BY: self.starter}


def is_first() -> bool:
    """Whether this is the first or only process of a training, once `find_started` has been called."""
    return "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0"


def find_started(trainer: TrainerConfig) -> Place | None:
    """The place of a process that was started as one of several; None for one that is alone or starts the others.

    A task of srun becomes one of several here, so that `is_first` and what else looks at the environment know it.

    Raises:
        ConfigError: if so many processes were started as the config does not want, or the environment is incomplete.
    """
    one = trainer.devices == 1 and trainer.num_nodes == 1
    place = _find_srun(os.environ, trainer.num_nodes) if not one and "RANK" not in os.environ else None
    if place is not None:
        os.environ.update(place.write_environment({}))
    else:
        place = _find_torchrun(os.environ, trainer)
    if place is None and trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: one process cannot start others on further machines; start them "
            f"all with torchrun or srun ({GUIDE})"
        )
    if place is not None:
        _check_count(place, trainer)
    return place


def _find_torchrun(environment: Mapping[str, str], trainer: TrainerConfig) -> Place | None:
    """The place that torchrun, or the first process, has written."""
    pair = [environment.get(key) for key in ("RANK", "WORLD_SIZE")]
    if None in pair:
        several = trainer.devices not in (1, "auto") or trainer.num_nodes > 1
        if pair != [None, None] and several:
            there, lacks = ("RANK", "WORLD_SIZE") if pair[1] is None else ("WORLD_SIZE", "RANK")
            raise ConfigError(
                f"the environment has {there} and lacks {lacks}: start the processes with torchrun or srun ({GUIDE}), "
                f"or unset {there}"
            )
        return None
    world = _read(environment, "WORLD_SIZE")
    if world == 1:
        return None
    for key in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(key):
            raise ConfigError(f"the environment has RANK and WORLD_SIZE={world} and lacks {key}; see {GUIDE}")
    local_world = _read(environment, "LOCAL_WORLD_SIZE", world // trainer.num_nodes)
    rank = _read(environment, "RANK")
    return _checked(
        Place(
            rank=rank,
            world=world,
            local_rank=_read(environment, "LOCAL_RANK", rank % max(local_world, 1)),
            local_world=local_world,
            starter="first" if environment.get(_STARTED_BY) == "first" else "torchrun",
            address=environment["MASTER_ADDR"],
            port=_read(environment, "MASTER_PORT"),
        )
    )


def _find_srun(environment: Mapping[str, str], nodes: int) -> Place | None:
    """The place of a task of a job step with several; None in a batch script, and outside SLURM."""
    if not environment.get("SLURM_STEP_ID", "").isdigit() or "SLURM_PROCID" not in environment:
        return None
    tasks = _read(environment, "SLURM_STEP_NUM_TASKS", _read(environment, "SLURM_NTASKS", 1))
    if tasks == 1:
        return None
    here = environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", str(nodes)))
    address = "127.0.0.1"
    if here != "1":
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        listed = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", address)
        address = SLURMEnvironment.resolve_root_node_address(listed)
    # Jobs that share a machine need ports of their own, below those that the system gives away.
    job, step = _read(environment, "SLURM_JOB_ID", 0), _read(environment, "SLURM_STEP_ID")
    return _checked(
        Place(
            rank=_read(environment, "SLURM_PROCID"),
            world=tasks,
            local_rank=_read(environment, "SLURM_LOCALID", 0),
            local_world=max(tasks // nodes, 1),
            starter="srun",
            address=environment.get("MASTER_ADDR") or address,
            port=_read(environment, "MASTER_PORT", 12000 + (7 * job + step) % 20000),
        )
    )


def _check_count(place: Place, trainer: TrainerConfig) -> None:
    devices, nodes = trainer.devices, trainer.num_nodes
    started = f"{place.starter} started {place.world} processes"
    if devices == "auto":
        if place.world % nodes:
            raise ConfigError(f"{started}, which trainer.num_nodes={nodes} machines cannot share evenly; see {GUIDE}")
    elif devices * nodes != place.world:
        raise ConfigError(
            f"{started}, and trainer.devices={devices} x trainer.num_nodes={nodes} are {devices * nodes}: set them to "
            f"the same number, or take trainer=ddp, whose trainer.devices=auto is as many as were started ({GUIDE})"
        )


def _checked(place: Place) -> Place:
    if not (0 <= place.rank < place.world and 0 <= place.local_rank < place.world and 0 < place.port < 2**16):
        raise ConfigError(
            f"the environment has rank {place.rank} of {place.world} processes, local rank {place.local_rank}, and "
            f"port {place.port}: that cannot be; start the processes with torchrun or srun ({GUIDE})"
        )
    return place


def _read(environment: Mapping[str, str], key: str, default: int | None = None) -> int:
    value = environment.get(key)
    if value is None and default is not None:
        return default
    if value is None or not value.isdigit():
        raise ConfigError(f"the environment has {key}={value}, which is not a number; see {GUIDE}")
    return int(value)
