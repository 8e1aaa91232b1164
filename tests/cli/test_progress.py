"""The lines that a log shows while something takes long: in every phase of every command."""

import gc
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from conftest import TINY, TINY_STACK, Said
from own_images import put

from unet_exp import progress
from unet_exp.progress import Heartbeat, Phase, track, watch
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.module import SegmentationModule

Cli = Callable[..., Said]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heart(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    """The heartbeat of this process; it beats when a test says so."""
    made = Heartbeat(every=threading.TIMEOUT_MAX, clock=clock)
    monkeypatch.setattr(progress, "HEART", made)
    return made


@pytest.fixture
def pauses(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every phase begins with a pause of 35 seconds, in which a line is due."""

    class Slow(Heartbeat):
        @contextmanager
        def watch(self, name: str, total: float | None = None, file: TextIO | None = None) -> Iterator[Phase]:
            with super().watch(name, total, file) as phase:
                clock.now += 35
                self.beat()
                yield phase

    monkeypatch.setattr(progress, "HEART", Slow(every=threading.TIMEOUT_MAX, clock=clock))


def in_order(lines: list[str], text: str) -> None:
    """These lines are in the text, in this order."""
    found = iter(text.splitlines())
    for line in lines:
        assert any(line == other for other in found), (line, text)


# --- one heartbeat ---


def test_a_line_tells_the_innermost_phase_how_far_it_is_and_since_when(
    heart: Heartbeat, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with watch("training"):
        clock.now += 30
        heart.beat()
        for number in track(range(3), "reading images", 3):
            if number == 2:
                clock.now += 5.4
                heart.beat()
        with watch("predicting", 2) as phase:
            phase.state = "a.tif 40%"
            heart.beat()
        clock.now += 30
        heart.beat()
    heart.beat()
    assert capsys.readouterr().out.splitlines() == [
        "training: 30 s",
        "reading images: 2 of 3, 5 s",
        "predicting: a.tif 40%, 0 s",
        "training: 65 s",
    ]


def test_each_output_has_a_line_and_a_terminal_none(heart: Heartbeat, monkeypatch: pytest.MonkeyPatch) -> None:
    out, log, closed, terminal = io.StringIO(), io.StringIO(), io.StringIO(), Terminal()
    with watch("sweep", file=out), watch("run", file=log), watch("first", file=closed), watch("bar", file=terminal):
        closed.close()
        heart.beat()
        heart.beat()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with watch("a further process", file=out):
        heart.beat()
    assert out.getvalue() == 2 * "sweep: 0 s\n"
    assert log.getvalue() == 2 * "run: 0 s\n"
    assert terminal.getvalue() == ""


def test_lines_come_while_a_single_item_takes_long() -> None:
    written = threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            written.set()
            return super().write(text)

    log = Log()
    heart = Heartbeat(every=0.001)
    with heart.watch("one large image", file=log):
        assert written.wait(timeout=60)
        assert any(thread.name == "heartbeat" for thread in threading.enumerate())
    before = log.getvalue()
    assert re.fullmatch(r"(one large image: \d+ s\n)+", before)
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())
    assert log.getvalue() == before


def test_the_garbage_collector_may_end_an_abandoned_phase_while_another_begins(
    heart: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> Iterator[None]:
        with heart.watch("abandoned", file=Terminal()):
            yield

    loop: Any = [work()]
    next(loop[0])
    loop.append(loop)
    del loop
    event = threading.Event
    monkeypatch.setattr(threading, "Event", lambda: [gc.collect(), event()][1])
    log = io.StringIO()
    with heart.watch("next", file=log):
        heart.beat()
    heart.beat()
    assert log.getvalue() == "next: 0 s\n"


def test_a_line_is_due_before_30_seconds_have_passed() -> None:
    assert 20 < progress.EVERY < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_begins_without_phases(heart: Heartbeat) -> None:
    log = io.StringIO()
    with heart.watch("of the parent", file=log):
        child = os.fork()
        if child == 0:
            heart.beat()
            with heart.watch("of the child", file=log):
                heart.beat()
            os._exit(log.getvalue() != "of the child: 0 s\n")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        heart.beat()
    assert log.getvalue() == "of the parent: 0 s\n"


# --- the phases of the commands ---


@pytest.mark.usefixtures("pauses")
class TestPhases:
    """Each of them shows a line."""

    def test_of_a_training(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("training_step", "validation_step"):
            genuine = getattr(SegmentationModule, name)

            def step(module: SegmentationModule, *batch: Any, genuine: Any = genuine) -> Any:
                progress.HEART.beat()
                return genuine(module, *batch)

            monkeypatch.setattr(SegmentationModule, name, step)
        said = cli("train", *TINY, "output=out", "model=same", "data.seed=1234")
        lines = re.sub(r"  loss [\d.]+", "  loss L", re.sub(r", \d+ s", ", S s", said.out))
        in_order(
            [
                "train: 35 s",
                "preparing the training: 35 s",
                "reading images: 35 s",
                "generating images: 0 of 4, S s",
                "starting the logger: 35 s",
                "training: 35 s",
                "training: step 0, S s",
                "training: epoch 1  step 1/2  loss L, S s",
                "training: step 2  validating image 1 of 1, S s",
                "testing: 35 s",
                "val images: 0 of 1, S s",
                "test images: 0 of 1, S s",
                "ending the run: 35 s",
            ],
            lines,
        )

    @pytest.mark.slow
    def test_of_a_look_at_images_a_training_on_them_and_a_prediction(self, cli: Cli, tmp_path: Path) -> None:
        for number in range(4):
            put(tmp_path, number)
        data = ["data=folder", "data.images=images", "data.masks=masks", "data.tile=16"]
        looked = ["check_data: 35 s", "looking at the sizes of images: 0 of 4, 35 s", "reading images: 0 of 4, 35 s"]
        in_order(looked, cli("check_data", *data, "output=look").out)
        said = cli("train", *TINY_STACK, *data, "output=out", "model=same", "trainer.max_steps=1")
        in_order(["reading images: 35 s", "decoding images: 0 of 4, 35 s"], said.out)
        said = cli("predict", f"checkpoint={said.folder}", "input=images", "output=masks_of")
        in_order(["predict: 35 s", "predicting: 0 of 4, 35 s"], said.out)

    def test_of_an_evaluation(self, cli: Cli, finished: RunFolder) -> None:
        said = cli("evaluate", f"checkpoint={finished.best}", "output=out")
        in_order(["evaluate: 35 s", "reading images: 35 s", "val images: 0 of 1, 35 s"], said.out)

    @pytest.mark.slow
    def test_of_a_sweep_and_the_logs_of_its_runs(self, cli: Cli) -> None:
        said = cli("train", "-m", *TINY, "output=out", "model=same", "seed=0,1", "trainer.max_steps=1")
        in_order(["checking the runs: 0 of 2, 35 s", "sweep: 35 s", "comparing the runs: 35 s"], said.out)
        # While a run goes on, its log has its own lines and the output those of the sweep.
        assert said.out.count("sweep: ") > 4
        (log, _) = sorted(Path("out").glob("sweep/*/*/run.log"))
        in_order(["preparing the training: 35 s", "training: 35 s", "test images: 0 of 1, 35 s"], log.read_text())
        assert "sweep:" not in log.read_text()
