"""The time between the runs of a sweep."""

import io
import statistics
import tempfile
from contextlib import redirect_stdout
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks.pairs import Pair, Timed
from benchmarks.settings import Benchmark

_TINY = [
    *(
        "experiment=small",
        "data.height=64",
        "data.width=64",
        "data.tile=32",
        "data.train_images=2",
        "data.val_images=1",
    ),
    *("data.test_images=1", "trainer.max_steps=2", "scheduler.warmup_steps=0", "trainer.accelerator=cpu"),
]


def list_pairs(task: Benchmark) -> list[Pair]:
    """With a CSV alone, and with W&B."""
    del task

    def between_runs(logger: str, last: str) -> Timed:
        """From a file of a run to the first step of the next one, the mean over a sweep of four."""
        from unet_exp.cli.command import read_command
        from unet_exp.runs.sweep_folder import SweepFolder
        from unet_exp.sweeps.launch import run_sweep
        from unet_exp.sweeps.plan import SweepPlan

        with tempfile.TemporaryDirectory() as place, redirect_stdout(io.StringIO()):
            words = [*_TINY, *logger.split(), f"output={place}", "seed=range(4)", "sweep.report=false"]
            plan = read_command(words, multirun=True)
            assert isinstance(plan, SweepPlan)
            run_sweep(plan)
            (path,) = Path(place, "sweep").iterdir()
            sweep = SweepFolder.open(path)
            folders = [sweep.folder(run) for run in sweep.runs]
            summaries = [folder.read_summary() for folder in folders]
            ends = [(folder.path / last).stat().st_mtime for folder in folders]
            starts = [
                datetime.fromisoformat(run.started or "").timestamp() + (run.seconds_setup or 0) for run in summaries
            ]
        return Timed(statistics.mean(start - end for end, start in zip(ends, starts[1:], strict=False)))

    wandb = "logger=wandb logger.mode=offline"
    return [
        Pair(
            "sweep",
            f"{what}: to the next run's first step",
            "logger=csv",
            wandb,
            partial(between_runs, "logger=csv", last),
            partial(between_runs, wandb, last),
        )
        for what, last in (("run ended", "summary.json"), ("test ended", "per_image.csv"))
    ]
