"""A checkpoint: a trained network with its record."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, Self

from torch import Tensor

from unet_exp import config as schema
from unet_exp import geometry
from unet_exp.checkpoints.record import CheckpointRecord
from unet_exp.config import Config, LossConfig
from unet_exp.config.own_classes import Use, explain_mistrust, list_targets
from unet_exp.errors import ConfigError, DataError
from unet_exp.network import Network, build, count_parameters


@dataclass(frozen=True)
class Checkpoint:
    """A trained network in a file.

    Attributes:
        path: the file.
        record: of the network and its training data.
        weights: its state dict; the moving average where the training kept one.
        step: optimizer steps of its training.
        trust: what it may import.
        imports_network: whether a user's own network is imported to predict, and needs trust.
    """

    imports_network: ClassVar[bool] = True

    path: Path
    record: CheckpointRecord
    weights: dict[str, Tensor]
    step: int
    trust: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, path: Path, plain: dict[str, Any], step: object, weights: dict[str, Tensor], trust: Collection[str]
    ) -> Self:
        """Checks the parts of a file and makes a checkpoint of them; see `unet_exp.checkpoints.opening`.

        Raises:
            DataError: if it has a newer format, names a class without trust, or is damaged.
        """
        try:
            record = CheckpointRecord.read(plain)
            if type(step) is not int or step < 0:
                raise ValueError(f"it is damaged: its step is {shorten(ascii(step), 40)}, no whole number from 0 on")
        except ValueError as error:
            raise DataError(f"checkpoint={path}: {error}") from None
        if cls.imports_network:
            require_trusted(path, record.config, trust, "predict")
        return cls(path, record, weights, step, tuple(trust))

    @cached_property
    def config(self) -> Config:
        """The config of its training, checked once against the schema of this version.

        Raises:
            DataError: if it does not fit.
        """
        try:
            return schema.parse(self.record.config)
        except ConfigError as error:
            raise DataError(f"checkpoint={self.path}: its config is not of this version of unet_exp: {error}") from None

    def loss(self) -> LossConfig:
        """The loss of its training, which may now be built.

        Raises:
            DataError: if it is a class without trust, or see `config`.
        """
        require_trusted(self.path, self.record.config, self.trust, "evaluate", only=["loss"])
        return self.config.loss

    def architecture(self) -> geometry.AnyArchitecture:
        """The architecture of its network, in plain integers.

        Raises:
            DataError: see `config`.
        """
        return self.config.architecture(self.record.channels, len(self.record.classes))

    def network(self) -> Network:
        """Builds the trained network, in evaluation mode, on the CPU.

        Raises:
            ConfigError: if a user's own class cannot be imported or does not fit, or timm has no such encoder.
            DataError: if the weights are not this network's.
        """
        if not isinstance(self.architecture(), geometry.CustomArchitecture):
            # Memory shared by several weights counts once.
            memory = {value.untyped_storage().data_ptr(): value for value in self.weights.values()}
            there = sum(value.untyped_storage().nbytes() // value.element_size() for value in memory.values())
            needed = count_parameters(self.config, self.record.channels, len(self.record.classes))
            if needed > there:  # checked before it takes memory
                raise DataError(
                    f"checkpoint={self.path}: it holds {there:,} numbers, and the network that its config describes "
                    f"has {needed:,} parameters"
                )
        network = build(self.config, self.record.channels, len(self.record.classes))
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            own = list_targets(self.record.config, "predict")
            which = f"{own['model.target']} as it is now" if own else "the network that its config describes"
            difference = shorten(str(error).split(":\n\t", 1)[-1], 200)
            raise DataError(f"checkpoint={self.path}: its weights are not those of {which}: {difference}") from None
        return network.eval()


def require_trusted(
    path: str | Path,
    config: dict[str, Any],
    trust: Collection[str],
    use: Use,
    typed: Collection[str] = (),
    only: Collection[str] = (),
) -> None:
    """Checks that users' own classes in a checkpoint's plain config are trusted, before a use imports them.

    Raises:
        DataError: if not; see `unet_exp.config.own_classes.explain_mistrust`.
    """
    if mistake := explain_mistrust(config, use, trust, typed, only):
        raise DataError(f"checkpoint={path}: it names {mistake}")
