"""The store of torch.distributed at which the processes of a training meet: in the first of them, or in torchrun."""

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from unet_exp.errors import ConfigError
from unet_exp.training.processes import Place

LOOKS = 0.1
"""Seconds between two looks."""

_stores: Any = dist  # PyTorch's stubs lack them
_ANSWERS = timedelta(seconds=20)
"""In which a store must answer."""


def open_store(place: Place, limit: int) -> Any:
    """The store of a process that something else has started.

    Args:
        place: of the process.
        limit: seconds in which the first process must be there, `trainer.peer_timeout`.

    Raises:
        ConfigError: if the port is taken, or the first process cannot be reached.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun itself has the store
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return _stores.PrefixStore(f"training/{attempt}", _reach_store(place, limit))
    return serve_store(place.port) if place.rank == 0 else _reach_store(place, limit)


def serve_store(port: int) -> Any:
    """The store, in this process; port 0 takes a free one.

    Raises:
        ConfigError: if the port is taken.
    """
    try:
        return _stores.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=_ANSWERS)
    except dist.DistError as error:
        reason = "in use" if "EADDRINUSE" in str(error) else "not to be had"
        raise ConfigError(
            f"MASTER_PORT={port} is {reason} on this machine; set another one, or end what listens there"
        ) from None


def _reach_store(place: Place, limit: int) -> Any:
    """The store, in another process.

    Raises:
        ConfigError: if its address is unknown, or nobody answers there.
    """
    where, until = f"MASTER_ADDR={place.address} MASTER_PORT={place.port}", time.monotonic() + limit
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=5).close()
            break
        except socket.gaierror:
            raise ConfigError(
                f"MASTER_ADDR={place.address}: this machine knows no such address; set that of the first machine"
            ) from None
        except OSError as error:
            if time.monotonic() > until:
                raise ConfigError(
                    f"{where}: nobody answers there within {limit} s, trainer.peer_timeout "
                    f"({error.strerror or error}); is the first process started?"
                ) from None
            time.sleep(LOOKS)
    if (store := _open_client(place.address, place.port)) is None:
        raise ConfigError(
            f"{where}: what listens there does not answer as the first process of a training; set another MASTER_PORT"
        )
    return store


def _open_client(address: str, port: int) -> Any:
    """The store that listens there; None where something else does, which may be silent for ever."""
    found: list[Any] = []

    def open_it() -> None:
        with suppress(dist.DistError):
            found.append(_stores.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=_ANSWERS))

    opening = threading.Thread(None, open_it, "store", daemon=True)
    opening.start()
    opening.join(_ANSWERS.total_seconds())
    return found[0] if found else None
