"""What runs inside a job of SLURM: runs of a sweep, one after another, and what a signal before the time limit does."""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from hydra.core.singleton import Singleton
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from unet_exp import signals
from unet_exp.sweeps.slurm_queue import rename

RunWords = Callable[[list[str]], Any]
"""Hydra's way to run the words of one run; returns its `JobReturn`."""
_REQUEUE = tuple(known for known in signals.STOP_SIGNALS if known.name in ("SIGUSR1", "SIGUSR2"))
"""Signals by which SLURM announces the time limit; submitit uses the second, or what SUBMITIT_PREEMPT_SIGNAL says."""


def bind_runner(config: DictConfig, context: HydraContext, task: TaskFunction) -> RunWords:
    """Hydra's way to run one job in a process of submitit's."""
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

    runner = BaseSubmititLauncher()
    runner.setup(hydra_context=context, task_function=task, config=config)
    state = Singleton.get_state()
    return partial(runner, job_dir_key="hydra.sweep.dir", job_num=0, job_id="", singleton_state=state)


class JobRuns:
    """What one job does: it trains its runs one after another.

    submitit pickles it, calls it in the job, and asks for `checkpoint` when the job is about to be queued again.

    Args:
        run_words: trains one run.
        runs: name and words of each.
    """

    def __init__(self, run_words: RunWords, runs: Sequence[tuple[str, list[str]]]) -> None:
        self._run_words = run_words
        self._left = list(runs)

    def __call__(self) -> None:
        """Trains the runs; a signal before the time limit makes the current one save, and queues the job again.

        Raises:
            Exception: of the first run that could not record its own; after the others have run.
        """
        # submitit's handler queues the job again at once. The run must save first.
        requeues = {signum: signal.getsignal(signum) for signum in signals.STOP_SIGNALS}
        for signum in signals.STOP_SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        errors: list[Exception] = []
        with signals.install_handlers():
            with suppress(signals.Stopped):
                self._train(errors)
            received = signals.received()
        if received is not None:
            requeue = requeues[received]
            if received in _REQUEUE and callable(requeue):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM sends it while it takes the job back
                requeue(received, None)
            sys.exit(128 + received)
        if errors:
            raise errors[0]

    def checkpoint(self) -> Any:
        """The runs that are left, for the same job after it was queued again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _train(self, errors: list[Exception]) -> None:
        from submitit import JobEnvironment

        job = JobEnvironment().job_id
        while self._left:
            name, words = self._left[0]
            rename(job, name)
            print(f"training {name}", flush=True)
            try:
                self._run_words(words).return_value  # noqa: B018 - it raises what the run has raised
            except Exception as error:
                errors.append(error)
            if signals.received() is not None:
                return
            del self._left[0]
