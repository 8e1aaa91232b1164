"""Trainings that are killed again and again, and resumed until they are done, end as ones that nothing has disturbed.

    python tests/kills.py --trainings 100 --cold 10 --seed 0

Each training is killed with SIGKILL: at any moment, in the middle of saving, or at a gap between two operations on
files. Most are forked from this process, which has imported everything and trained nothing; the cold ones are
`scripts/train.py`, a new process at each start. Only the process itself is killed: its workers have to find out. What
comes of them is compared bit by bit with an undisturbed run and told in tables in Markdown. The exit code is 1 if one
has not come out equal, or has left workers behind.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process with threads cannot be forked safely

import numpy as np
from conftest import TINY
from killable import GAPS, Gap, Training
from resuming import EPOCH, SETTINGS, check_equal

from unet_exp.runs.run_folder import RunFolder

WIDE = ("model.width=32", "model.depth=3", "trainer.save_every=1s")
"""Of cold starts: checkpoints of 6 MB, so that a side file is there long enough to be seen."""
MOST_KILLS = 5
PATIENCE = 15
"""Seconds in which the workers of killed processes must have ended; PyTorch's look for their parent every 5 s."""
MOMENTS = {"any": 0.2, "later": 0.3, "saving": 0.25, "gap": 0.25}
"""How often each kind of moment is drawn: any until the end, or any after the first save; in the middle of a save; at
a gap. A cold start has no gaps, since nobody can stop another process at one, and its time begins when it prints: until
then it imports libraries, and there is nothing to disturb.
"""


@dataclass(frozen=True)
class Kill:
    """One kill to come.

    Attributes:
        moment: a key of `MOMENTS`.
        part: in [0, 1): of the time that the undisturbed run or its save takes; of the list of gaps.
        count: in [0, 1): which of the saves, or how many times the gap is passed before.
        auto: the next start finds the run by `resume=auto`, else by its folder.
    """

    moment: str
    part: float
    count: float
    auto: bool

    @property
    def gap(self) -> tuple[Gap, int] | None:
        """At which the process dies, and how many times it passes it before."""
        gap = GAPS[int(self.part * len(GAPS))]
        return (gap, int(self.count * gap.times)) if self.moment == "gap" else None


@dataclass(frozen=True)
class Plan:
    """One training, and what will happen to it.

    Attributes:
        number: its place among all.
        setting: a key of `SETTINGS`.
        cold: each start is a new process.
        often: it saves before every step, and not only after validations.
        kills: one at least.
    """

    number: int
    setting: str
    cold: bool
    often: bool
    kills: tuple[Kill, ...]

    @property
    def words(self) -> list[str]:
        """What is typed, but for output and resume."""
        return [*TINY, *EPOCH, *SETTINGS[self.setting].split(), *(WIDE if self.cold else ())]


@dataclass(frozen=True)
class Undisturbed:
    """A run to compare with.

    Attributes:
        run: its folder.
        seconds: that it took.
        first_save: seconds until the first save was done.
        saves: seconds of each save.
    """

    run: RunFolder
    seconds: float
    first_save: float
    saves: list[float]


@dataclass
class Landed:
    """One kill that has been.

    Attributes:
        where: the phase or the gap.
        saving: in the middle of writing a checkpoint.
        torn: it has left a half-written file.
        then: how the next start went on.
    """

    where: str
    saving: bool
    torn: bool
    then: str = ""


@dataclass
class Result:
    """What came of a training.

    Attributes:
        mistake: why it is not equal; empty if it is.
        nameless: folders of starts that were killed before they had written what they were.
        workers_left: killed processes whose workers have not ended.
    """

    plan: Plan
    kills: list[Landed] = field(default_factory=list)
    mistake: str = ""
    nameless: int = 0
    workers_left: int = 0


def draw(trainings: int, cold: int, seed: int) -> list[Plan]:
    """Plans of so many trainings, the first of them cold ones."""
    random = np.random.default_rng(seed)
    plans = []
    for number in range(trainings):
        moments = random.choice(list(MOMENTS), min(random.geometric(0.5), MOST_KILLS), p=list(MOMENTS.values()))
        kills = tuple(
            Kill(
                "saving" if number < cold and moment == "gap" else str(moment),
                random.random(),
                random.random(),
                bool(random.integers(2)),
            )
            for moment in moments
        )
        setting = list(SETTINGS)[number % len(SETTINGS)]
        plans.append(Plan(number, setting, number < cold, random.random() < 0.7, kills))
    return plans


def run(plans: Sequence[Plan], below: Path, jobs: int = 1) -> list[Result]:
    """Carries out plans.

    Args:
        plans: of trainings.
        below: a folder for all of them.
        jobs: how many trainings are done side by side.
    """
    os.environ["UNET_EXP_CACHE"] = str(below / "cache")
    kinds = list({(plan.setting, plan.cold): plan for plan in plans}.values())
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        found = pool.map(partial(_undisturbed, below=below), kinds)
        usual = {(plan.setting, plan.cold): one for plan, one in zip(kinds, found, strict=True)}
        parts = pool.map(partial(_carry_out, usual=usual, below=below), [plans[job::jobs] for job in range(jobs)])
        return [result for part in parts for result in part]


def _undisturbed(plan: Plan, below: Path) -> Undisturbed:
    """The run of a plan's settings that nothing disturbs; a fork for cold plans too, which must not matter."""
    output = below / f"undisturbed_{list(SETTINGS).index(plan.setting)}{'_cold' * plan.cold}"
    output.mkdir()
    training = Training([*plan.words, f"output={output}"], output / "log")
    while training.listen():
        pass
    ended = time.monotonic()
    if training.wait() or not training.workers_gone(PATIENCE):
        raise RuntimeError((output / "log").read_text())
    began = training.said[0][1]
    saves = [(begin, end) for (phase, begin), (_, end) in pairwise(training.said) if phase == "saving"]
    (folder,) = _runs(output)
    return Undisturbed(folder, ended - began, saves[0][1] - began, [end - begin for begin, end in saves])


def _carry_out(plans: Sequence[Plan], usual: dict[tuple[str, bool], Undisturbed], below: Path) -> list[Result]:
    results: list[Result] = []
    killed: list[tuple[Result, Training]] = []
    for plan in plans:
        output = below / f"{plan.number:03}"
        result, trainings = _disturb(plan, usual[plan.setting, plan.cold], output)
        results.append(result)
        killed += [(result, training) for training in trainings]
        kills = ", ".join(f"{kill.where} ({kill.then})" for kill in result.kills)
        verdict = f"NOT EQUAL, see {output}: {result.mistake}" if result.mistake else "equal"
        print(f"{plan.number} {plan.setting}{', cold' * plan.cold}: {kills}: {verdict}", file=sys.stderr)
    deadline = time.monotonic() + PATIENCE
    for result, training in killed:
        result.workers_left += not training.workers_gone(max(deadline - time.monotonic(), 0))
    return results


def _disturb(plan: Plan, usual: Undisturbed, output: Path) -> tuple[Result, list[Training]]:
    """The result of one plan, and the trainings that were killed."""
    result = Result(plan)
    killed: list[Training] = []
    pending, auto = list(plan.kills), True
    while True:
        if not killed:
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir()
        named = [found for found in _runs(output) if found.config.exists()]
        way = [f"resume={named[-1].path}"] if named and not auto else [*plan.words, f"output={output}", "resume=auto"]
        kill = pending.pop(0) if pending else None
        log = output / f"start_{len(killed)}.log"
        training = Training(way, log, plan.cold, plan.often, kill.gap if kill else None)
        if kill is not None:
            _kill_in_time(training, kill, usual, plan.cold, output)
        code = training.wait()
        if killed:
            result.kills[-1].then = _how_it_went_on(log.read_text())
        if code == -signal.SIGKILL:
            assert kill is not None
            result.kills.append(_landed(training, kill, plan.cold, output))
            killed.append(training)
            auto = kill.auto
            if any(one.read_summary().status == "finished" for one in _runs(output)):
                result.kills[-1].then = "was over"
                break
            continue
        training.workers_gone(0)
        if code == 0 and not killed:  # its end came before the kill: once more, a little earlier
            assert kill is not None
            pending.insert(0, replace(kill, part=0.9 * kill.part, count=0.9 * kill.count))
            continue
        break
    ended = [found for found in _runs(output) if found.summary.exists()]
    result.nameless = len(_runs(output)) - len(ended)
    try:
        assert code in (0, -signal.SIGKILL), log.read_text()
        (one,) = ended
        assert not list(one.path.rglob(".*.part.*")), "side files are left"
        assert one.curves.exists(), "a finished run without its curves"
        check_equal(one, usual.run)
    except Exception:
        result.mistake = traceback.format_exc()
    return result, killed


def _runs(output: Path) -> list[RunFolder]:
    """In the order in which they were begun."""
    return [RunFolder(path) for path in sorted(output.glob("train/*"))]


def _kill_in_time(training: Training, kill: Kill, usual: Undisturbed, cold: bool, output: Path) -> None:
    """Waits for the moment of a kill; returns at once when the process has ended."""
    moment: float | None = None
    while kill.moment != "gap":
        moment = moment or _moment(training, kill, usual, cold)
        left = moment and max(moment - time.monotonic(), 0)
        if left == 0 and not (cold and kill.moment == "saving" and not _sides(training, output, "train/*/checkpoints")):
            training.kill()
            return
        # A cold start says nothing: one has to look.
        if not training.listen(left or (0.01 if left is None else 0.0001) if cold else left):
            return


def _moment(training: Training, kill: Kill, usual: Undisturbed, cold: bool) -> float | None:
    """When a kill is due, by the monotonic clock; None where that is not known yet."""
    if cold:
        # While saving: at the first side file that is seen after this moment.
        part = 0.5 * kill.count if kill.moment == "saving" else kill.part
        return time.monotonic() + part * usual.seconds if training.log.stat().st_size else None
    if kill.moment == "any":
        return training.said[0][1] + kill.part * usual.seconds
    if kill.moment == "later":
        done = [end for (phase, _), (_, end) in pairwise(training.said) if phase == "saving"]
        return done[0] + kill.part * (usual.seconds - usual.first_save) if done else None
    begun, number = [when for phase, when in training.said if phase == "saving"], int(kill.count * len(usual.saves))
    return begun[number] + kill.part * usual.saves[number] if number < len(begun) else None


def _sides(training: Training, output: Path, folders: str) -> list[Path]:
    """The side files that a process has begun to write."""
    return list(output.glob(f"{folders}/.*.{training.pid}.part.*"))


def _landed(training: Training, kill: Kill, cold: bool, output: Path) -> Landed:
    torn = bool(_sides(training, output, "train/**"))
    if cold:
        saving = bool(_sides(training, output, "train/*/checkpoints"))
        return Landed("cold start, side file seen" if saving else "cold start", saving, torn)
    saving = training.said[-1][0] == "saving"
    if kill.gap is None:
        return Landed(training.said[-1][0], saving, torn)
    gap, _ = kill.gap
    return Landed(gap.name, saving, torn or gap.state == "row")


def _how_it_went_on(log: str) -> str:
    """What a start has said of it."""
    if "going on from step" in log:
        return "from last-1" if "last-1.ckpt)" in log else "from last"
    anew = "it starts from the beginning" in log or "this is a new one" in log
    return "begun anew" if anew else "killed at once"


def report(results: Sequence[Result]) -> Iterator[str]:
    """The tables, line by line."""

    def line(*cells: object) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    ways = ("from last", "from last-1", "begun anew", "killed at once", "was over")
    counts = ("kills", "while saving", "left half-written files", *ways)

    def count(kills: Sequence[Landed]) -> list[int]:
        then = Counter(kill.then for kill in kills)
        saving, torn = sum(kill.saving for kill in kills), sum(kill.torn for kill in kills)
        return [len(kills), saving, torn, *(then[way] for way in ways)]

    groups = {name: [one for one in results if one.plan.setting == name and not one.plan.cold] for name in SETTINGS}
    groups |= {"cold starts, of all settings": [one for one in results if one.plan.cold], "**all**": list(results)}
    yield line("training", "trainings", *counts, "equal")
    yield line("---", *["---:"] * (len(counts) + 2))
    for name, group in groups.items():
        equal = sum(not one.mistake for one in group)
        yield line(name, len(group), *count([kill for one in group for kill in one.kills]), equal)
    yield ""
    kills = [kill for one in results for kill in one.kills]
    yield line("killed at", *counts)
    yield line("---", *["---:"] * len(counts))
    for where in sorted({kill.where for kill in kills}):
        yield line(where, *count([kill for kill in kills if kill.where == where]))


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=100, help="the cold ones too")
    parser.add_argument("--cold", type=int, default=10, help="trainings whose every start is a new process")
    parser.add_argument("--seed", type=int, default=0, help="of settings and moments")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    options = parser.parse_args()
    below = Path(tempfile.mkdtemp(prefix="kills_"))
    begin = time.monotonic()
    results = run(draw(options.trainings, options.cold, options.seed), below, options.jobs)
    print("\n".join(report(results)))
    equal = sum(not one.mistake for one in results)
    left, nameless = sum(one.workers_left for one in results), sum(one.nameless for one in results)
    print(f"\n{equal} of {len(results)} trainings ended equal, in {time.monotonic() - begin:.0f} s.")
    print(f"Killed processes whose workers had not ended {PATIENCE} s after the last training: {left}.")
    print(f"Folders of starts that were killed before summary.json was written: {nameless}.")
    if equal < len(results) or left:
        return 1
    shutil.rmtree(below)
    return 0


if __name__ == "__main__":
    sys.exit(main())
