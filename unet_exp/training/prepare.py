"""From a config to a training that is ready to start: every mistake that can be found before is found here."""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from unet_exp import augmentation, data, losses
from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import CheckpointRecord, pack_digests
from unet_exp.config import Config
from unet_exp.config.user_data import UserDataConfig
from unet_exp.errors import ConfigError
from unet_exp.geometry import CustomArchitecture, EncoderArchitecture
from unet_exp.inference.device import choose_layouts, resolve_device, resolve_precision
from unet_exp.memory import free_memory
from unet_exp.metrics.declarations import ScoreFamily, metric_names, other_names
from unet_exp.metrics.own import build_own
from unet_exp.network import Network, complete, cost, count_parameters
from unet_exp.progress import watch
from unet_exp.runs.conditions import Conditions, Layouts
from unet_exp.runs.environment import describe_conditions
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.compatibility import check_fits, score_borders
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.fingerprint import VERSION, find_version, fingerprint
from unet_exp.samples.normalization import Normalization
from unet_exp.training.datamodule import SegmentationData, count_classes
from unet_exp.training.device_patches import resolve_place
from unet_exp.training.encoder_weights import EncoderWeights, find_encoder_weights, load_encoder_weights
from unet_exp.training.fine_tuning import load_initial_weights
from unet_exp.training.group import count_devices
from unet_exp.training.loggers import check_logger
from unet_exp.training.module import SegmentationModule
from unet_exp.training.own_callbacks import build_own_callbacks
from unet_exp.training.processes import Place
from unet_exp.training.sanity import gather_warnings
from unet_exp.training.trial import try_learning, try_metrics, try_patches

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """A checked training, ready to start.

    Attributes:
        config: what to train.
        overrides: the words of the command line.
        dataset: its images.
        device: where it runs.
        precision: resolved.
        augmented_on: `cpu` or `gpu`, see `unet_exp.training.device_patches.resolve_place`.
        place: of this process among those that share the work.
        parameters: of the network.
        macs: multiply-accumulates of one training input; None where unknown.
        datamodule: feeds it.
        module: the network, its loss and its optimizer.
        steps: optimizer steps until the first limit; None where only the time ends it.
        metrics: names of the validation scores, without `val/`.
        callbacks: of the user's own, see `unet_exp.training.own_callbacks`.
        start: the file that its weights start from; None: random ones.
        warned: what was warned of while it was prepared, and so is told already.
    """

    config: Config
    overrides: list[str]
    dataset: DataSet
    device: torch.device
    precision: str
    augmented_on: str
    place: Place
    parameters: int
    macs: int | None
    datamodule: SegmentationData
    module: SegmentationModule
    steps: int | None
    metrics: list[str]
    callbacks: list[Callback]
    start: Path | None
    warned: list[str] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the last of them may take fewer batches."""
        return _count_steps(self.config, self.datamodule)

    @cached_property
    def conditions(self) -> Conditions:
        """What its numbers depend on beside its config; the data are hashed once."""
        return describe_conditions(
            fingerprint(self.dataset),
            str(self.device),
            self.precision,
            processes=self.place.world,
            threads=torch.get_num_threads(),
            layouts=self.module.layouts,
            augmented_on=self.augmented_on,
            init_from_sha256=None if self.start is None else _sha256(self.start),
        )

    def conditions_beside(self, earlier: Conditions) -> Conditions:
        """The same, with a fingerprint of the data of the version that an earlier run has, to be compared."""
        version = find_version(earlier.data_fingerprint)
        if version == VERSION:
            return self.conditions
        with watch("hashing the images as the earlier run did"):
            return self.conditions.model_copy(update={"data_fingerprint": fingerprint(self.dataset, version)})


def prepare(
    config: Config,
    overrides: Sequence[str],
    resumed: Path | None = None,
    earlier: Conditions | None = None,
    place: Place | None = None,
) -> Job:
    """Reads the data, builds the network and checks all that can fail before a folder exists.

    Args:
        config: what to train.
        overrides: the words of the command line.
        resumed: the folder of the run that the training resumes; None for a start from the beginning.
        earlier: of a run that it resumes or repeats, or of the first process of it, to round as that did.
        place: of this process among those that share it; None: it does not train.

    Raises:
        UserError: for what the user can correct.
    """
    with gather_warnings() as warned:
        job = _prepare(config, overrides, resumed, earlier, place)
    return replace(job, warned=warned)


def _prepare(
    config: Config, overrides: Sequence[str], resumed: Path | None, earlier: Conditions | None, place: Place | None
) -> Job:
    check_logger(config)
    augmented = augmentation.build(config.augmentation)
    _check_compiler(config)
    own_metrics, tried_metrics = (build_own(config.metrics.own) for _ in range(2))
    callbacks = build_own_callbacks(config)
    try_learning(config)
    device = resolve_device(config.trainer.accelerator)
    precision = resolve_precision(config.trainer.precision, device)
    place = place or _plan_place(config)
    _check_sync(config, device, place.world)
    augmented_on = resolve_place(config, device, place.local_world, None if earlier is None else earlier.augmented_on)
    with watch("preparing the network"):
        config = complete(config)
    start = _Start.find(config, resumed is not None, download=earlier is None)
    dataset = _load_data(config)
    config = _forget_verify(config)
    families = check_fits(config, dataset)
    _check_memory(config, dataset)
    # Lightning's seed_everything also sets the environment of later processes.
    pl.seed_everything(config.seed, workers=True, verbose=False)
    normalization = Normalization.fit(config.data.normalization, dataset.train.facts)
    datamodule = _make_datamodule(config, dataset, normalization, place, augmented_on)
    steps = _total_steps(config, datamodule)
    module = _build_module(config, dataset, normalization, steps, _choose_layouts(config, device, precision, earlier))
    count, macs = cost(module.network, datamodule.input_size)
    _check_space(config, resumed, count)
    module.families, module.own_metrics = families, own_metrics
    module.scale = dataset.scale.tolerate(config.metrics.tolerance)
    start.load(module.network)
    try_metrics(tried_metrics, dataset)
    try_patches(config, dataset, augmented, datamodule.input_size, module.record.class_weights)
    return Job(
        config=config,
        overrides=list(overrides),
        dataset=dataset,
        device=device,
        precision=precision,
        augmented_on=augmented_on,
        place=place,
        parameters=count,
        macs=macs,
        datamodule=datamodule,
        module=module,
        steps=steps,
        metrics=_list_metrics(config, dataset, families),
        callbacks=callbacks,
        start=start.path,
    )


def _plan_place(config: Config) -> Place:
    """A place among as many processes as would share the training."""
    here = count_devices(config.trainer)
    return Place(world=here * config.trainer.num_nodes, local_world=here)


def _load_data(config: Config) -> DataSet:
    find_objects = losses.targets(config.loss).reach > 0
    dataset = data.limit(data.load_data(config.data, find_objects), config.trainer.limit_batches)
    return score_borders(config, dataset)


def _make_datamodule(
    config: Config, dataset: DataSet, normalization: Normalization, place: Place, augmented_on: str
) -> SegmentationData:
    """What feeds the training.

    Raises:
        ConfigError: if some process would have nothing to do.
    """
    made = SegmentationData(config, dataset, normalization, place.world, augmented_on == "gpu", place.local_world)
    if not made.batches:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: an epoch has {made.tiles} tiles, fewer than the {place.world} "
            "processes; set a larger data.tiles_per_epoch"
        )
    return made


def _list_metrics(config: Config, dataset: DataSet, families: Sequence[ScoreFamily]) -> list[str]:
    """Names of the validation scores, without `val/`."""
    names, own = [spec.name for spec in dataset.classes], config.metrics.own
    return [*metric_names(names, families), *other_names(names, families), *(metric.name for metric in own)]


@dataclass(frozen=True)
class _Start:
    """The weights that a network starts from: those of a checkpoint, pretrained ones of an encoder, or none.

    Attributes:
        path: of their file; None: random ones.
    """

    path: Path | None
    initial: Checkpoint | None
    pretrained: EncoderWeights | None

    @classmethod
    def find(cls, config: Config, resumed: bool, download: bool) -> "_Start":
        """Opens the files; a resumed training has these weights in its checkpoint already, and they may be gone.

        Raises:
            UserError: for a file that is missing, damaged or not trusted.
        """
        initial = None
        if config.init_from and not resumed:
            initial = open_checkpoint(config.init_from, config.trust, "init_from")
        pretrained = None if config.init_from or resumed else find_encoder_weights(config.model, download=download)
        path = Path(config.init_from) if config.init_from else None if pretrained is None else pretrained.path
        return cls(path, initial, pretrained)

    def load(self, network: Network) -> None:
        """Puts them into the network, and says what starts fresh.

        Raises:
            UserError: if they do not fit.
        """
        if self.initial is not None and (fresh := load_initial_weights(network, self.initial)):
            reason = "another number of classes" if fresh[0] in self.initial.weights else "no deep supervision there"
            print(f"init_from={self.initial.path}: {reason}, so {', '.join(fresh)} start fresh")
        if self.pretrained is not None:
            load_encoder_weights(network, self.pretrained)


def _forget_verify(config: Config) -> Config:
    """The config without `data.verify`, an order for one start: a resumed run need not read all files again."""
    if not isinstance(config.data, UserDataConfig):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"verify": False})})


def _check_sync(config: Config, device: torch.device, processes: int) -> None:
    """Checks that batch norm can be over all processes, and that there is one, where that is known."""
    if not config.trainer.sync_batchnorm or processes == 1:
        return
    if device.type != "cuda":
        raise ConfigError(
            f"trainer.sync_batchnorm=true: PyTorch has it on CUDA alone, and this training is on {device.type}; set it "
            "to false, or take model.norm=group or instance, which need no other process"
        )
    architecture = config.architecture(in_channels=1, classes=2)
    if not isinstance(architecture, CustomArchitecture | EncoderArchitecture) and architecture.norm != "batch":
        raise ConfigError(
            f"trainer.sync_batchnorm=true: the network has no batch norm (model.norm={architecture.norm}); leave it out"
        )


def _check_compiler(config: Config) -> None:
    if config.trainer.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise ConfigError("trainer.compile=true needs a C++ compiler (g++ or clang++), and none is found here")


def _build_module(
    config: Config, dataset: DataSet, normalization: Normalization, steps: int | None, layouts: Layouts
) -> SegmentationModule:
    counts = count_classes(dataset)
    if config.data.foreground_share and not any(counts[1:]):
        _log.warning(
            "data.foreground_share=%g has no effect: no training mask shows a class but the first",
            config.data.foreground_share,
        )
    record = CheckpointRecord(
        config=config.model_dump(),
        classes=list(dataset.classes),
        normalization=normalization,
        channels=dataset.channels,
        class_weights=losses.class_weights(config.loss, counts),
        trained_on=pack_digests(dataset.train.facts.digests),
        mask_suffix=dataset.mask_suffix,
    )
    return SegmentationModule(record.model_dump(), steps or 0, config, layouts)


def _choose_layouts(config: Config, device: torch.device, precision: str, earlier: Conditions | None) -> Layouts:
    """The memory layouts: those of the earlier run, or those that suit device, precision and network."""
    if earlier is not None and earlier.layouts is not None and earlier.device == str(device):
        return earlier.layouts
    architecture = config.architecture(in_channels=1, classes=2)
    return choose_layouts(config.trainer.channels_last, device, precision, architecture)


def _check_memory(config: Config, dataset: DataSet) -> None:
    """Checks the memory for float32 weights and gradients; the size of a user's own network is unknown."""
    architecture = config.architecture(dataset.channels, len(dataset.classes))
    if isinstance(architecture, CustomArchitecture):
        return
    count, free = count_parameters(config, dataset.channels, len(dataset.classes)), free_memory()
    if 2 * 4 * count > free:
        own = architecture.decoder if isinstance(architecture, EncoderArchitecture) else architecture
        raise ConfigError(
            f"model.width={own.width} model.depth={own.depth}: {count:,} parameters and their "
            f"gradients take {8 * count / 1e9:.3g} GB of memory and {free / 1e9:.3g} GB are free; take a smaller "
            "width or depth"
        )


def _check_space(config: Config, resumed: Path | None, count: int) -> None:
    """Checks the disk space for checkpoints: each has float32 weights, two optimizer moments and perhaps an average.

    There are at most four: best, last, the one before, and the one being written. A resumed training adds only the
    last.
    """
    needed = (4 if resumed is None else 1) * count * 4 * 4
    folder = Path(config.output).absolute() if resumed is None else resumed
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if free < needed:
        place = f"output={config.output}" if resumed is None else f"resume={resumed}"
        raise ConfigError(
            f"{place}: {free / 1e6:.1f} MB are free and the checkpoints take up to {needed / 1e6:.1f} MB more; "
            f"free some space{' or choose another folder' if resumed is None else ''}"
        )


def _total_steps(config: Config, datamodule: SegmentationData) -> int | None:
    """Optimizer steps until the first limit; None where only the time ends the training."""
    limits = [] if config.trainer.max_steps is None else [config.trainer.max_steps]
    if config.trainer.max_epochs is not None:
        limits.append(config.trainer.max_epochs * _count_steps(config, datamodule))
    return min(limits, default=None)


def _count_steps(config: Config, datamodule: SegmentationData) -> int:
    """Optimizer steps of an epoch; the last of them may take fewer batches."""
    return -(-datamodule.batches // config.trainer.accumulate)


def _sha256(initial: Path) -> str | None:
    """Hash of a checkpoint, or of a run's best one; None where it is gone, which a resumed training does not need."""
    path = RunFolder(initial).best if initial.is_dir() else initial
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
