"""The keys of `scripts/benchmark.py`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from unet_exp.config.values import Count
from unet_exp.schema import Strict


class Benchmark(Strict):
    """The entry point's own keys.

    Attributes:
        groups: to measure.
        repeats: of each pair, in turn; long pairs have fewer.
        threads: of PyTorch and OpenCV.
        quick: small images, few steps and two repeats: to try the groups, not to judge by.
        accelerator: of the trainings and predictions, and of what they are beside.
        precision: likewise.
        output: folder of the JSON.
        markdown: a file whose table of this kind of machine is replaced, or added; empty for none.
        side: of the large image, in pixels.
        budgets: of the group `large`.
        layouts: of the files of the group `large`.
    """

    groups: str | list[str]
    repeats: Count
    threads: Count
    quick: bool
    accelerator: Literal["cpu", "gpu", "mps"]
    precision: Literal["32", "bf16-mixed"] | int
    output: str
    markdown: str
    side: Annotated[int, Field(ge=100)] | None
    budgets: Annotated[list[str], Field(min_length=1)]
    layouts: Annotated[list[Literal["tiled", "striped"]], Field(min_length=1)]

    def choose(self, usual: int, quick: int) -> int:
        """A size or a number of steps."""
        return quick if self.quick else usual

    @property
    def words(self) -> list[str]:
        """Of the machine, for a training."""
        return [f"trainer.accelerator={self.accelerator}", f"trainer.precision={self.precision}"]


DEFAULTS: dict[str, Any] = {
    "groups": "all",
    "repeats": 7,
    "threads": 1,
    "quick": False,
    "accelerator": "cpu",
    "precision": 32,
    "output": "outputs/benchmark",
    "markdown": "",
    "side": None,
    "budgets": ["500MB", "2GB"],
    "layouts": ["tiled", "striped"],
}
