"""How a process learns which of several it is, and what it says where they do not come together."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from conftest import composed
from resuming import free_port

from unet_exp.config import parse
from unet_exp.config.running import TrainerConfig
from unet_exp.errors import ConfigError, TrainingError, UserError
from unet_exp.training import processes
from unet_exp.training.group import Group, SharedRun, find_place
from unet_exp.training.processes import Place, find_started
from unet_exp.training.store import serve_store

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
"""In a batch script."""
SRUN = {
    **BATCH, "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_NODELIST": "gpu[01-08]",
}  # fmt: skip


def settings(**changes: Any) -> TrainerConfig:
    trainer = parse(composed("trainer=ddp", "trainer.accelerator=cpu")).trainer
    return trainer.model_copy(update=changes)


def given(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for key in (*TORCHRUN, *SRUN, "UNET_EXP_STARTED_BY"):
        patch.delenv(key, raising=False)
    for key, value in environment.items():
        patch.setenv(key, value)


@pytest.mark.parametrize(
    ("environment", "changes", "place"),
    [
        ({}, {"devices": 2}, None),
        (TORCHRUN, {"num_nodes": 2}, Place(3, 4, 1, 2, "torchrun", "node1", 29500)),
        (TORCHRUN, {"devices": 4}, Place(3, 4, 1, 2, "torchrun", "node1", 29500)),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, {"devices": 1}, None),
        (SRUN, {"num_nodes": 2}, Place(3, 4, 1, 2, "srun", "gpu07", 12000 + 7 * 1234 + 1)),
        (SRUN, {"devices": 2, "num_nodes": 2}, Place(3, 4, 1, 2, "srun", "gpu07", 12000 + 7 * 1234 + 1)),
        ({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"}, {}, Place(3, 4, 1, 4, "srun", "10.0.0.1", 5)),
        ({**SRUN, "SLURM_STEP_NUM_NODES": "1"}, {}, Place(3, 4, 1, 4, "srun", "127.0.0.1", 12000 + 7 * 1234 + 1)),
        (SRUN, {"devices": 1}, None),  # four trainings of one process each
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, {"devices": 2}, None),
        (BATCH, {}, None),
        ({**BATCH, "SLURM_STEP_ID": "batch"}, {}, None),
    ],
)
def test_the_environment_says_which_process_it_is(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], changes: dict[str, Any], place: Place | None
) -> None:
    given(monkeypatch, environment)
    assert find_started(settings(**changes)) == place
    assert processes.is_first() == (place is None)


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        (TORCHRUN, {"devices": 1}, "torchrun started 4 processes, and trainer.devices=1 x trainer.num_nodes=1 are 1"),
        (SRUN, {"devices": 2}, "srun started 4 processes, and trainer.devices=2 x trainer.num_nodes=1 are 2"),
        (TORCHRUN, {"num_nodes": 3}, "torchrun started 4 processes, which trainer.num_nodes=3 machines cannot share"),
        ({}, {"num_nodes": 2}, "trainer.num_nodes=2: one process cannot start others on further machines"),
        ({"RANK": "1"}, {"devices": 2}, "the environment has RANK and lacks WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, {"devices": 2}, "the environment has WORLD_SIZE and lacks RANK"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, {}, "the environment has RANK and WORLD_SIZE=2 and lacks MASTER_ADDR"),
        ({**TORCHRUN, "RANK": "four"}, {}, "the environment has RANK=four, which is not a number"),
        ({**TORCHRUN, "RANK": "4"}, {}, "the environment has rank 4 of 4 processes"),
    ],
)
def test_processes_that_are_not_those_of_the_config_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], changes: dict[str, Any], message: str
) -> None:
    given(monkeypatch, environment)
    with pytest.raises(ConfigError) as caught:
        find_started(settings(**changes))
    assert str(caught.value).startswith(message)
    assert "docs/distributed.md" in str(caught.value)


def test_a_process_that_starts_the_others_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {})
    assert find_place(settings(devices=3)) == Place(world=3, local_world=3)
    assert find_place(settings(devices="auto")) == Place()


# --- what does not come together ---

PAIR = Place(world=2, local_world=2, starter="srun", port=1)


def refused(place: Place, error: type[UserError], **changes: Any) -> str:
    began = time.monotonic()
    with pytest.raises(error) as caught, Group(settings(**{"peer_timeout": 1, **changes}), place):
        pass
    assert time.monotonic() - began < 30
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(replace(PAIR, port=port), ConfigError).startswith(f"MASTER_PORT={port} is in use")


def test_an_unknown_address_is_named() -> None:
    said = refused(replace(PAIR, rank=1, address="no-such-machine.invalid"), ConfigError)
    assert said.startswith("MASTER_ADDR=no-such-machine.invalid: this machine knows no such address")


def test_a_first_process_that_does_not_come_is_waited_for_a_time() -> None:
    port = free_port()
    said = refused(replace(PAIR, rank=1, port=port), ConfigError)
    assert said.startswith(f"MASTER_ADDR=127.0.0.1 MASTER_PORT={port}: nobody answers there within 1 s")


def test_another_process_that_does_not_come_is_waited_for_a_time() -> None:
    said = refused(replace(PAIR, port=free_port()), TrainingError)
    assert said.startswith("process 1 of 2 (counted from 0) did not come within 1 s (trainer.peer_timeout=1)")


def test_a_program_that_has_the_port_but_is_no_training_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unet_exp.training.store._ANSWERS", timedelta(seconds=1))
    with socket.create_server(("", 0)) as taken:
        said = refused(replace(PAIR, rank=1, port=taken.getsockname()[1]), ConfigError)
    assert "does not answer as the first process of a training" in said


@contextmanager
def meeting() -> Iterator[tuple[Group, Group]]:
    """The groups of two processes that have met, the first of which is not entered yet."""
    first, trainer = replace(PAIR, port=free_port()), settings(peer_timeout=20)
    server = Group(trainer, first)
    server._store = serve_store(first.port)
    with Group(trainer, replace(first, rank=1)) as other:
        yield server, other


def test_what_ends_the_first_process_ends_the_others() -> None:
    with meeting() as (server, other):
        with pytest.raises(ConfigError), server:
            raise ConfigError("data.tile=7: too small")
        with pytest.raises(TrainingError, match=r"^process 0 of 2: data.tile=7: too small$"):
            other.receive()


def test_the_others_are_told_the_run() -> None:
    with meeting() as (server, other):
        run = SharedRun("folder", None, {"threads": 2})
        with server:
            server.share(run)
            assert other.receive() == run
            other._set("gone/1")
