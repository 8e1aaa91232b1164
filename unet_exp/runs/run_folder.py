"""The folder of a run and its files."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from unet_exp.errors import DataError
from unet_exp.files import write_csv, write_text, write_whole
from unet_exp.runs.plain_yaml import parse_plain
from unet_exp.runs.summary import Summary
from unet_exp.schema import leaves

OUTPUTS = "outputs"
"""Where all commands write by default; `conf/train.yaml` has the same."""
MOST_NAMES = 10_000
"""Names of images in a summary; more go into a file beside it, so that the summary stays short."""

_NAMES = TypeAdapter(dict[str, list[str]])


class _In:
    """A file or folder in a run's folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, folder: "RunFolder", _: type) -> Path:
        return folder.path.joinpath(*self._parts)


class RunFolder:
    """The folder of a run; each attribute is the path of a file or folder in it."""

    config = _In("config.yaml")
    metrics = _In("metrics.csv")
    per_image = _In("per_image.csv")
    per_threshold = _In("per_threshold.csv")
    confusion = _In("confusion.csv")
    confusion_picture = _In("confusion.png")
    probability_curves = _In("probability_curves.csv")
    reliability = _In("reliability.csv")
    curves_picture = _In("probability_curves.png")
    summary = _In("summary.json")
    split = _In("split.json")
    curves = _In("curves.png")
    page = _In("report.html")
    preview = _In("preview.png")
    log = _In("run.log")
    lock = _In(".lock")
    checkpoints = _In("checkpoints")
    best = _In("checkpoints", "best.ckpt")
    last = _In("checkpoints", "last.ckpt")
    previous = _In("checkpoints", "last-1.ckpt")
    predictions = _In("predictions")

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str, now: datetime | None = None) -> "RunFolder":
        """Makes `<parent>/<date>_<time>_<name>`; see `dated_folder`."""
        return cls(dated_folder(parent, name, now))

    def picture(self, split: str, image: str) -> Path:
        """The picture of what is predicted of an image."""
        return self.predictions / picture_name(split, image)

    def list_files(self) -> list[Path]:
        """The files that people open and that are there, without the page and what is in folders."""
        pictures = (self.preview, self.curves, self.confusion_picture, self.curves_picture)
        scores = (self.per_image, self.per_threshold, self.confusion, self.probability_curves, self.reliability)
        known = (*pictures, self.metrics, *scores, self.summary, self.split, self.config, self.log)
        return [path for path in known if path.is_file()]

    @property
    def has_checkpoint(self) -> bool:
        """Whether a training can go on here."""
        return self.last.exists() or self.previous.exists()

    @property
    def is_of_sweep(self) -> bool:
        """Whether it is one of the runs of a sweep."""
        return (self.path.parent / "sweep.json").is_file()

    @property
    def is_over(self) -> bool:
        """Whether the run finished, or a search pruned it."""
        return self.read_summary().is_over

    def prepare(self) -> "RunFolder":
        """Makes the folders of a training and removes half-written files of a killed process."""
        for folder in (self.checkpoints, self.predictions):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.checkpoints, self.predictions):
            for part in folder.glob(".*.part.*"):
                part.unlink()
        return self

    def clear(self) -> None:
        """Empties the folder but for the lock and the log, which may be open, and the config, which a resume needs."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in (self.lock, self.log, self.config):
                path.unlink()

    def read_config(self, parse: Callable[[str], Any] = parse_plain) -> dict[str, Any]:
        """Reads `config.yaml` as plain values; the file may come from anybody.

        Args:
            parse: `parse_plain`, or that of `SharedBlocks` for many folders.

        Raises:
            DataError: if it is missing, is no YAML of plain values, or refers to something that only this machine
                knows.
        """
        try:
            text = self.config.read_text()
            values = parse(text)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            raise DataError(f"{self.config} is missing or damaged") from None
        # The configs of trainings are resolved. An interpolation would read values of this machine, such as variables.
        written = "$" in text or "\\" in text  # YAML has signs by their numbers too
        if written and any(isinstance(leaf, str) and "${" in leaf for leaf in leaves(values, len(text))):
            raise DataError(f"{self.config} refers to something beside it with ${{...}}")
        return values if isinstance(values, dict) else {}

    def read_summary(self) -> Summary:
        """Reads `summary.json`; an empty summary where it is missing or damaged."""
        try:
            return Summary.read(self.summary)
        except DataError:
            return Summary()

    def write_split(self, split: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The fields of a summary for the names of the images of each part; many names go into `split.json`."""
        counts = {part: len(names) for part, names in split.items()}
        if sum(counts.values()) <= MOST_NAMES:
            return {"split": {part: list(names) for part, names in split.items()}}
        with write_whole(self.split) as side, side.open("w") as file:
            for number, (part, names) in enumerate(split.items()):
                file.write(f"{', ' if number else '{'}{json.dumps(part)}: [")
                # One by one: as one text a million names take as much memory again.
                file.writelines(f"{', ' if place else ''}{json.dumps(name)}" for place, name in enumerate(names))
                file.write("]")
            file.write("}\n")
        return {"split": None, "split_counts": counts}

    def read_split(self, summary: Summary) -> dict[str, list[str]]:
        """Names of the images of each part, wherever `write_split` has put them.

        Raises:
            DataError: if they are missing, damaged, or not as many as the summary says.
        """
        if summary.split is not None:
            return summary.split
        if summary.split_counts is None:
            raise DataError(f"{self.summary} is damaged: split")
        try:
            split = _NAMES.validate_json(self.split.read_bytes(), strict=True)
        except (OSError, ValueError):
            raise DataError(f"{self.split} is missing or damaged") from None
        if {part: len(names) for part, names in split.items()} != summary.split_counts:
            raise DataError(f"{self.split} is damaged: it has other numbers of names than {self.summary.name} says")
        return split

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the resolved config."""
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # that in C, where PyYAML has it, is ten times faster
        write_text(self.config, yaml.dump(dict(config), Dumper=dumper, sort_keys=False))

    def write_scores(self, images: Sequence[Mapping[str, Any]], thresholds: Sequence[Mapping[str, Any]]) -> None:
        """Writes the scores per image and, for border scores, per threshold."""
        write_csv(self.per_image, images)
        if thresholds:
            write_csv(self.per_threshold, thresholds)


def picture_name(split: str, image: str) -> str:
    """The file of the picture of an image; names such as `test_000` already say the split."""
    return f"{split}_{image.removeprefix(f'{split}_')}.png"


def dated_folder(parent: Path, name: str, now: datetime | None = None) -> Path:
    """Makes `<parent>/<date>_<time>_<name>`; a number is added where that exists.

    Raises:
        DataError: if it cannot be made.
    """
    stem = f"{now or datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    for suffix in ("", *(f"_{number}" for number in range(2, 1000))):
        folder = parent / (stem + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise DataError(
                f"the folder {folder} cannot be made ({error.strerror}); choose another place with output="
            ) from None
        return folder
    raise DataError(f"there are too many folders named {parent / stem}; choose another name=")


def refuse_links(folder: Path) -> None:
    """Refuses a folder with links: resuming writes into it, and a link can lead anywhere.

    Raises:
        DataError: if it holds a link, except in the folders of W&B and submitit, which make links themselves and write
            into new folders alone.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink():
                raise DataError(
                    f"{path} is a link, and could lead anywhere; put what it leads to in its place to go on there"
                )
        folders[:] = [name for name in folders if name not in ("wandb", ".submitit")]
