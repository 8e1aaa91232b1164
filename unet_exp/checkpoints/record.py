"""The record of a network in a checkpoint: one schema for every file that this project writes."""

from textwrap import shorten
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from unet_exp.checkpoints.migrations import FORMAT, migrate
from unet_exp.config import ClassSpec
from unet_exp.config.values import Count, NonNegative
from unet_exp.errors import ConfigError
from unet_exp.samples.normalization import Normalization
from unet_exp.schema import Strict, validate

KEY = "unet_exp"
"""Key of the record: an entry of a `.ckpt`, the prefix of an ONNX file's metadata."""
MOST_DIGESTS = 10_000
"""Digests of images that a record lists whole; more are shortened and put together, so that files stay small."""
SHORT = 8
"""Bytes of a shortened digest: among a million images two different ones are the same by chance once in 10^7 times."""

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_ShortDigests = Annotated[str, Field(pattern=f"^([0-9a-f]{{{2 * SHORT}}})*$")]


class CheckpointRecord(Strict, extra="ignore"):
    """All that a trained network needs besides its weights; a file holds its `model_dump()`.

    Attributes:
        format: of the file; see `unet_exp.checkpoints.migrations`.
        config: the resolved values of its training, plain.
        classes: in the order of the network's classes.
        normalization: of its input.
        channels: of its input.
        class_weights: of its loss, in numbers.
        trained_on: `image_digest` of each training image; of many images, see `pack_digests`, one text of the first
            `SHORT` bytes of each. Ask `find_trained_on`.
        mask_suffix: of the files of its masks; None where it had none of a user's own, and in earlier files.
    """

    format: int = FORMAT
    config: dict[str, Any]
    classes: Annotated[list[ClassSpec], Field(min_length=2)]
    normalization: Normalization
    channels: Count
    class_weights: list[NonNegative] | None
    trained_on: list[_Digest] | _ShortDigests
    mask_suffix: str | None = None

    @model_serializer(mode="wrap")
    def _omit_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out a suffix that there is not, as files did before it existed."""
        plain: dict[str, Any] = dump(self)
        return {key: value for key, value in plain.items() if key != "mask_suffix" or value is not None}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        values = self.channels if self.normalization.mode == "dataset" else 0
        if {len(self.normalization.mean), len(self.normalization.std)} != {values}:
            raise ValueError(f"normalization={self.normalization.mode} has {values} values of mean and std")
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ValueError(f"{len(self.class_weights)} class_weights are not those of {len(self.classes)} classes")
        # Configs of trainings are resolved. Others would read variables of this shell.
        if "${" in repr(self.config):
            raise ValueError("its config refers to something beside it with ${...}")
        return self

    def find_trained_on(self, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of N images were trained on, by the first `SHORT` bytes of their digests: (N,).

        Args:
            digests: (N, 32), see `unet_exp.samples.facts.Facts`.
        """
        known = self.trained_on
        text = known if isinstance(known, str) else "".join(digest[: 2 * SHORT] for digest in known)
        wanted = np.ascontiguousarray(digests[:, :SHORT])
        return np.isin(wanted.view(np.uint64)[:, 0], np.frombuffer(bytes.fromhex(text), np.uint64))

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Self:
        """Migrates and checks the record of a file of any format, which anybody may have written.

        Raises:
            ValueError: if it cannot be read; the message continues the name of the file.
        """
        try:
            return validate(cls, migrate(plain))
        except ConfigError as error:
            raise ValueError(f"it is damaged: {shorten(str(error), 300)}") from None


def pack_digests(digests: NDArray[np.uint8]) -> list[str] | str:
    """Digests of training images for a record.

    Args:
        digests: (N, 32), see `unet_exp.samples.facts.Facts`.

    Returns:
        Each in hexadecimal; of more than `MOST_DIGESTS`, the first `SHORT` bytes of each in one text.
    """
    if len(digests) > MOST_DIGESTS:
        return digests[:, :SHORT].tobytes().hex()
    return [digest.tobytes().hex() for digest in digests]
