"""The files of the command predict, one after another, or those of one part; with a bar for each."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unet_exp.errors import UserError
from unet_exp.inference.large.sharing import Share, assign_files
from unet_exp.progress import watch

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from unet_exp.inference.large.file_predictor import FilePredictor, Inputs, Outputs
    from unet_exp.inference.predictor import Predictor


_NAMED = 3
"""Files that are named with the reason why they were skipped."""


@dataclass
class Predicted:
    """What has become of files.

    Attributes:
        files: how many there were to predict.
        masks: that were written.
        images: of these.
        failures: why files were skipped, with these.
    """

    files: int
    masks: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    failures: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many files were skipped."""
        return sum(map(len, self.failures.values()))

    def explain_failures(self) -> str:
        """Why files were skipped, each reason once, with the first few of its files."""
        return "; ".join(
            f"{', '.join(map(str, paths[:_NAMED]))}{' ...' * (len(paths) > _NAMED)}: {reason}"
            + f" ({len(paths)} files)" * (len(paths) > 1)
            for reason, paths in self.failures.items()
        )


def predict_files(
    predictor: "Predictor",
    images: Mapping[Path, int],
    inputs: "Inputs",
    outputs: "Outputs",
    budget: int,
    console: "Console",
    share: Share | None,
) -> Predicted:
    """Predicts files.

    Args:
        predictor: of the masks.
        images: bytes of each image on the disk, by its first file.
        inputs: which pixels of the images hold data.
        outputs: to write.
        budget: bytes for all files at a time.
        console: for lines and bars.
        share: which part of the files to predict; None for all.
    """
    from rich.progress import TaskID

    from unet_exp.inference.large.file_predictor import FilePredictor
    from unet_exp.inference.large.pipeline import run_overlapped

    with watch("predicting", len(images)) as phase, _progress(console) as progress:
        bars: dict[Path, TaskID] = {}

        def show(path: Path, done: int, total: int) -> None:
            if path not in bars:
                bars[path] = progress.add_task(path.name, total=total, completed=done, unit="pixels")
            progress.update(bars[path], completed=done, visible=done < total)
            phase.state = f"{path.name} {done / total:.0%}, {phase.done:.0f} of {len(paths)} files done"

        few = share is not None and len(images) < share.count
        say = partial(console.print, soft_wrap=True)
        work = FilePredictor(predictor, inputs, outputs, budget, say, show, share if few else None)
        paths = list(images) if share is None else _choose_files(work, images, share)
        phase.total, result = len(paths), Predicted(len(paths))
        files = progress.add_task("predicting", total=len(paths), unit="files", visible=len(paths) > 1)
        jobs = ((path, work.cost(path)) for path in paths)
        with closing(run_overlapped(jobs, budget, work.read, work.compute, work.write, work.joins)) as results:
            for path, found in results:
                if isinstance(found, UserError):
                    result.failures.setdefault(str(found).removeprefix(f"{path}: "), []).append(path)
                elif found is not None:
                    result.masks.append(found)
                    result.images.append(path)
                progress.advance(files)
                phase.done, phase.state = phase.done + 1, ""
    return result


def _choose_files(work: "FilePredictor", images: Mapping[Path, int], share: Share) -> list[Path]:
    """The files of a part.

    Each file belongs to one part. With fewer files than parts, each part also has some tiles of every file that is
    predicted by tiles.
    """
    owners = assign_files(list(images.values()), share.count)
    few = len(images) < share.count
    return [
        path
        for path, owner in zip(images, owners, strict=True)
        if (few and work.shares_tiles(path)) or owner == share.number
    ]


def _progress(console: "Console") -> "Progress":
    """A bar for the files, and one for each large image, with its speed; nothing without a terminal."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            if not task.speed:
                return Text()
            pixels = task.fields["unit"] == "pixels"
            return Text(f"{task.speed / 1e6:.2f} million pixels/s" if pixels else f"{task.speed:.1f} files/s")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        Speed(),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
