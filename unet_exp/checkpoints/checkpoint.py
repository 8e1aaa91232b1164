"""A checkpoint, opened without Lightning and without running any code that it might bring along."""

import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickletools import genops
from textwrap import shorten
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from unet_exp import config as schema
from unet_exp import geometry
from unet_exp.checkpoints.migrations import FORMAT, migrated
from unet_exp.config import ClassSpec, Config
from unet_exp.config.values import Count, Natural, NonNegative
from unet_exp.data.normalization import Normalization
from unet_exp.errors import ConfigError, DataError
from unet_exp.network import Network, build
from unet_exp.schema import Strict, leaves, validate

KEY = "unet_exp"
"""Where a Lightning checkpoint keeps what this project knows of it."""
CUSTOM_GROUPS = ("loss", "model")
"""Groups of the config that may name a user's own class."""

_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `torch.load` raises for arbitrary bytes: it takes them for instructions, sizes and places in the file."""
_PLAIN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_\w+|torch(\.storage)? \w+Storage|torch \w*(int|float)\w*"
)
"""What tensors and state dicts are made of, as a pickle names it."""
_MOST_BUILDS = 20
"""State dicts in a checkpoint at most."""


class _Normalization(Strict):
    mode: Literal["image", "dataset", "none"]
    mean: list[float]
    std: list[NonNegative]


class _Described(Strict):
    """What a file says of its network; `Checkpoint` explains it. Anybody may have written it: it is checked whole."""

    config: dict[str, Any]
    classes: Annotated[list[ClassSpec], Field(min_length=2)]
    normalization: _Normalization
    channels: Count
    class_weights: list[NonNegative] | None
    trained_on: list[str]
    step: Natural

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        values = self.channels if self.normalization.mode == "dataset" else 0
        if {len(self.normalization.mean), len(self.normalization.std)} != {values}:
            raise ValueError(f"normalization={self.normalization.mode} has {values} values of mean and std")
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ValueError(f"{len(self.class_weights)} class_weights are not those of {len(self.classes)} classes")
        # The configs of trainings are resolved. What is not would be looked up here, such as variables of the shell.
        if "${" in repr(self.config):
            raise ValueError("its config refers to something beside it with ${...}")
        return self


@dataclass(frozen=True)
class Checkpoint:
    """All that a trained network needs.

    Attributes:
        path: the file.
        config: the resolved values of its training, plain.
        classes: in the order of the network's classes.
        normalization: of its input.
        channels: of its input.
        class_weights: of its loss, in numbers.
        trained_on: `image_digest` of each training image.
        weights: the network's state dict; the moving average where the training kept one.
        step: optimizer steps that made it.
        imports: groups of the config whose own classes are imported when it is used, so that they have to be trusted.
    """

    imports: ClassVar[Sequence[str]] = CUSTOM_GROUPS

    path: Path
    config: dict[str, Any]
    classes: tuple[ClassSpec, ...]
    normalization: Normalization
    channels: int
    class_weights: list[float] | None
    trained_on: frozenset[str]
    weights: dict[str, Tensor]
    step: int

    @classmethod
    def described(cls, path: Path, known: dict[str, Any], trust: Collection[str], weights: dict[str, Tensor]) -> Self:
        """A checkpoint of what a file says under `KEY`; see `describe`.

        Args:
            path: the file.
            known: what it says, with its `step`.
            trust: see `open_checkpoint`.
            weights: the network's.

        Raises:
            DataError: if it is of a newer format, names a class that is not trusted, or is damaged.
        """
        try:
            known = migrated(known)
        except ValueError as error:
            raise DataError(f"checkpoint={path}: {error}") from None
        config = known.get("config")
        _check_trust(path, custom_targets(config if isinstance(config, dict) else {}, cls.imports), trust)
        try:
            told = validate(_Described, {name: known[name] for name in _Described.model_fields if name in known})
        except ConfigError as error:
            raise DataError(f"checkpoint={path}: it is damaged: {shorten(str(error), 300)}") from None
        return cls(
            path=path,
            config=told.config,
            classes=tuple(told.classes),
            normalization=Normalization.from_plain(told.normalization.model_dump()),
            channels=told.channels,
            class_weights=told.class_weights,
            trained_on=frozenset(told.trained_on),
            weights=weights,
            step=told.step,
        )

    def parsed(self) -> Config:
        """Its config, checked against the schema of today.

        Raises:
            DataError: if it does not fit.
        """
        try:
            return schema.parse(self.config)
        except ConfigError as error:
            raise DataError(f"checkpoint={self.path}: its config is not of this version of unet_exp: {error}") from None

    def network(self) -> Network:
        """The trained network, in evaluation mode, on the CPU.

        Raises:
            ConfigError: if a user's own class cannot be imported or does not fit.
            DataError: if the weights are not this network's.
        """
        config = self.parsed()
        architecture = config.architecture(self.channels, len(self.classes))
        if isinstance(architecture, geometry.Architecture):
            # Memory that several weights share counts once.
            memory = {value.untyped_storage().data_ptr(): value for value in self.weights.values()}
            there = sum(value.untyped_storage().nbytes() // value.element_size() for value in memory.values())
            needed = geometry.parameters(architecture)
            if needed > there:  # before memory is taken for it
                raise DataError(
                    f"checkpoint={self.path}: it holds {there:,} numbers, and the network that its config describes "
                    f"has {needed:,} parameters"
                )
        network = build(config, self.channels, len(self.classes))
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            own = custom_targets(self.config, ("model",))
            which = f"{own['model.target']} as it is now" if own else "the network that its config describes"
            difference = shorten(str(error).split(":\n\t", 1)[-1], 200)
            raise DataError(f"checkpoint={self.path}: its weights are not those of {which}: {difference}") from None
        return network.eval()


def describe(
    config: dict[str, Any],
    classes: list[dict[str, Any]],
    normalization: dict[str, Any],
    channels: int,
    class_weights: list[float] | None,
    trained_on: list[str],
) -> dict[str, Any]:
    """What a checkpoint keeps under `KEY`: plain containers only, so that it opens with `weights_only=True`."""
    return {
        "format": FORMAT,
        "config": config,
        "classes": classes,
        "normalization": normalization,
        "channels": channels,
        "class_weights": class_weights,
        "trained_on": trained_on,
    }


def open_checkpoint(path: str | Path, trust: Collection[str] = ()) -> Checkpoint:
    """Opens a checkpoint of this project.

    Args:
        path: the file, or a run's folder, whose `best.ckpt` is taken.
        trust: packages, modules or classes that the checkpoint may name (`loss=custom`, `model=custom`); they will be
            imported.

    Raises:
        DataError: if it is missing, is no checkpoint, is one of another program or a newer version, or names a class
            that is not trusted.
    """
    path = Path(path)
    try:
        path = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
        exists = path.is_file()
    except OSError as error:
        raise DataError(f"checkpoint={path}: this path cannot be opened ({error.strerror})") from None
    if not exists:
        raise DataError(f"checkpoint={path}: there is no such file; runs keep theirs in <run>/checkpoints/best.ckpt")
    content = read_content(path)
    prefix = "network."
    weights = content.get("state_dict")
    network = {
        key.removeprefix(prefix): value
        for key, value in (weights.items() if isinstance(weights, dict) else ())
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, Tensor)
    }
    return Checkpoint.described(path, {**content[KEY], "step": content.get("global_step")}, trust, network)


def read_content(path: Path) -> dict[str, Any]:
    """All that a checkpoint of this project holds, plain containers and tensors, if its checksums say that it is whole.

    They are those of the zip archive that `torch.save` writes, one for each tensor; PyTorch itself does not look.
    It never compresses and never stores a thing twice: what does so could unpack to any size.

    Raises:
        DataError: if it is damaged, no checkpoint, or one of another program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            size = path.stat().st_size
            twice = sum(entry.file_size for entry in entries) > size
            # PyTorch reads what stands before an archive, and these checksums are not of that.
            before = min((entry.header_offset for entry in entries), default=0) > 0
            if packed or twice or before or archive.testzip():
                raise zipfile.BadZipFile
            for entry in entries:
                if entry.filename.lower().endswith("data.pkl"):  # capitals are all the same to PyTorch
                    _require_plain(archive.read(entry))
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not all(_is_stored(leaf) for leaf in leaves(content, size) if isinstance(leaf, Tensor)):
            raise ValueError("a tensor is larger than what the file holds of it")
    except pickle.UnpicklingError:
        raise DataError(
            f"checkpoint={path}: this is no checkpoint of unet_exp, or it holds more than plain data and was refused"
        ) from None
    except PermissionError:
        raise DataError(f"checkpoint={path}: there is no permission to read it") from None
    except _DAMAGED:
        raise DataError(f"checkpoint={path}: this is no checkpoint, or it is damaged") from None
    known = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(known, dict):
        raise DataError(f"checkpoint={path}: this is no checkpoint of unet_exp (it has no entry {KEY!r})")
    assert isinstance(content, dict)
    return content


def _require_plain(pickled: bytes) -> None:
    """Finds calls with which a few bytes fill any memory, such as `bytearray(10**12)`; `weights_only=True` makes them.

    Raises:
        UnpicklingError: if it calls anything but tensors and empty containers.
        ValueError: if it is no pickle.
    """
    before, last, builds = "", "", 0
    for step, argument, _ in genops(pickled):
        foreign = "GLOBAL" in step.name and not _PLAIN.fullmatch(str(argument))
        # Nothing is copied by a call without arguments, nor by one that ends with such a call, as each tensor's does.
        copies = step.name == "REDUCE" and last != "EMPTY_TUPLE" and (before, last) != ("REDUCE", "TUPLE")
        builds += step.name == "BUILD"  # copies attributes; of each state dict
        if foreign or copies or step.name == "NEWOBJ" or builds > _MOST_BUILDS:
            raise pickle.UnpicklingError(f"it calls {argument or step.name}")
        if "PUT" not in step.name:
            before, last = last, step.name


def _is_stored(tensor: Tensor) -> bool:
    """Whether each number of a tensor lies in the file; one that is repeated, sparse or `meta` can claim any size."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return dense and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def custom_targets(config: dict[str, Any], groups: Sequence[str] = CUSTOM_GROUPS) -> dict[str, str]:
    """The users' own classes that a plain config names, such as `{"loss.target": "their_package.TheirLoss"}`.

    Args:
        config: of a training.
        groups: that are looked at.
    """
    found = {name: config.get(name) for name in groups}
    return {
        f"{name}.target": str(values.get("target"))
        for name, values in found.items()
        if isinstance(values, dict) and values.get("name") == "custom"
    }


def _check_trust(path: Path, targets: dict[str, str], trust: Collection[str]) -> None:
    for key, target in targets.items():
        if not schema.is_trusted(target, trust):
            package = target.partition(".")[0]
            raise DataError(
                f"checkpoint={path}: it names {key}={target}, a class that is not of unet_exp and whose code would "
                f"run; if you trust it, add trust=[{package}]"
            )
