"""How many processes read, and what they do to each other."""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest

from unet_exp.training.workers import count_workers

MB = 10**6


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Linux with 32 cores and 10 GB of shared memory, which a test may change."""
    has = SimpleNamespace(cores=32, shared=10_000 * MB)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(has.cores)), raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=has.shared))
    return has


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("asked", [0, 1, 5, 40])
def test_a_number_is_that_number(device: str, asked: int) -> None:
    assert count_workers(asked, device, 3, 10**15) == asked


@pytest.mark.usefixtures("machine")
def test_a_network_on_the_cpu_keeps_its_cores() -> None:
    assert count_workers("auto", "cpu", 1, MB) == count_workers("auto", "mps", 1, MB) == 0


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(1, 1, 1), (2, 1, 2), (7, 1, 7), (32, 1, 8), (32, 8, 4), (4, 8, 1)]
)
def test_on_a_gpu_by_the_cores_that_the_processes_share(
    machine: SimpleNamespace, cores: int, processes: int, expected: int
) -> None:
    machine.cores = cores
    assert count_workers("auto", "cuda", processes, MB) == expected


def test_no_more_than_shared_memory_holds_the_batches_of(machine: SimpleNamespace) -> None:
    machine.shared = 64 * MB  # a container's
    assert count_workers("auto", "cuda", 1, 2 * MB) == 8
    assert count_workers("auto", "cuda", 1, 4 * MB) == 4
    assert count_workers("auto", "cuda", 2, 4 * MB) == 2
    assert count_workers("auto", "cuda", 1, 40 * MB) == 0


def test_without_fork_or_shared_memory_this_process_reads(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(place: str) -> None:
        raise FileNotFoundError(place)

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert count_workers("auto", "cuda", 1, MB) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=machine.shared))
    monkeypatch.setattr(sys, "platform", "win32")
    assert count_workers("auto", "cuda", 1, MB) == 0
