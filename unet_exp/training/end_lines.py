"""What a training says at its end: how far it came, how long it took, and whether it overfitted one batch."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from unet_exp.errors import TrainingError
from unet_exp.runs.summary import Summary


def describe_durations(summary: Summary) -> str:
    """How far it came in how many seconds, its validations included, and beside them those of setup and test."""
    reached = f"{summary.describe_reach()}{' in' if summary.ended_by is None else ', after'}"
    beside = [f"setup {summary.seconds_setup:.0f} s"]
    beside += [] if summary.seconds_test is None else [f"test {summary.seconds_test:.0f} s"]
    return f"{reached} {summary.seconds_training:.0f} s with validations ({', '.join(beside)})"


def check_overfit(losses: Sequence[float], console: Console) -> dict[str, Any]:
    """The verdict of `debug=overfit`.

    Args:
        losses: of the epochs.
        console: shows it.

    Raises:
        TrainingError: if the loss did not fall below a tenth.
    """
    first, last = losses[0], losses[-1]
    verdict = f"overfitting one batch: the loss went from {first:.4f} to {last:.4f}"
    if not last < 0.1 * first:
        raise TrainingError(
            f"{verdict}; it should fall below a tenth: look at predictions/, optimizer.lr and trainer.max_steps"
        )
    console.print(verdict)
    return {"fell": True, "first": first, "last": last, "verdict": verdict}
