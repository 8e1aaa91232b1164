"""The pretrained weights of an encoder, for a new training alone: a checkpoint has all of its weights itself."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from torch import Tensor, nn

from unet_exp.config import ModelConfig
from unet_exp.config.model import IMAGENET, EncoderModelConfig
from unet_exp.console import quieten
from unet_exp.errors import ConfigError, DataError
from unet_exp.extras import hint_extra
from unet_exp.network import EncoderNetwork
from unet_exp.network.timm_encoders import find_pretrained, require_weights
from unet_exp.progress import watch
from unet_exp.user_class import describe_error

_FILE = "model.safetensors"
"""Of the weights, in each repository of timm."""


@dataclass(frozen=True)
class EncoderWeights:
    """Weights of an encoder as timm saves them, and their file."""

    path: Path
    tensors: dict[str, Tensor]


def find_encoder_weights(model: ModelConfig, download: bool) -> EncoderWeights | None:
    """Finds, reads and checks the pretrained weights of a config's encoder; None where it has none.

    Args:
        model: of the config.
        download: whether weights that are not on this machine yet are downloaded.

    Raises:
        ConfigError: if timm has none for this encoder, or cannot be imported.
        DataError: if they cannot be downloaded or read, or are not those of the encoder.
    """
    if not isinstance(model, EncoderModelConfig) or model.weights is None:
        return None
    path = Path(model.weights) if model.weights != IMAGENET else _find_of_timm(model.encoder, download)
    where = f"model.weights={model.weights}"
    tensors = _read(path, where)
    try:
        require_weights(model.encoder, model.depth, tensors)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return EncoderWeights(path, tensors)


def load_encoder_weights(network: nn.Module, weights: EncoderWeights) -> None:
    """Copies weights into the encoder of a network, in place; its first convolution is fitted to the image's channels.

    Raises:
        DataError: if they do not fit.
    """
    assert isinstance(network, EncoderNetwork)
    try:
        network.load_encoder(weights.tensors)
    except DataError as error:
        raise DataError(f"{weights.path}: {error}") from None


def _read(path: Path, where: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise DataError(f"{where}: there is no such file; name one of safetensors, imagenet or null")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{where}: this is no file of safetensors, or it is damaged ({describe_error(error)})"
        ) from None


def _find_of_timm(encoder: str, download: bool) -> Path:
    """Finds timm's weights in the cache of the Hugging Face Hub, or downloads them into it."""
    where = f"model.weights={IMAGENET}"
    repository = find_pretrained(encoder).repository
    if repository is None:
        raise ConfigError(
            f"{where}: timm has none for model.encoder={encoder} as safetensors on the Hugging Face Hub; set null or a "
            "file that you have converted"
        )
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError(f"{where} needs huggingface_hub: {hint_extra('encoders')}") from None
    cached = huggingface_hub.try_to_load_from_cache(repository, _FILE)
    if isinstance(cached, str):
        return Path(cached)
    if not download:
        raise DataError(
            f"{where}: those of {repository} are no longer in the cache of huggingface_hub, and to repeat or resume a "
            "training downloads nothing; start a new one, which does"
        )
    try:
        with watch(f"downloading the weights of {encoder}"), quieten("huggingface_hub"):
            # Asked once: the download itself asks six times, in half a minute.
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repository, _FILE))
            return Path(huggingface_hub.hf_hub_download(repository, _FILE))
    except Exception as error:  # of the network, the disk or the hub
        reason = shorten(describe_error(_find_cause(error)), 160)
        raise DataError(
            f"{where}: {repository} cannot be downloaded ({reason}); try again, or name a file that you have with "
            "model.weights="
        ) from None


def _find_cause(error: BaseException) -> BaseException:
    """The first of the errors that led to one: the hub's own says only that it has failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
