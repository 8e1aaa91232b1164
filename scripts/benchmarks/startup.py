"""How long the program takes to answer, and to make its first step."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.pairs import Goal, Pair, Timed
from benchmarks.processes import SCRIPTS, start, train_until_first_step
from benchmarks.settings import Benchmark

_EMPTY = """
import hydra

@hydra.main(config_path="conf", config_name="empty", version_base="1.3")
def main(config):
    pass

main()
"""


def list_pairs(task: Benchmark) -> list[Pair]:
    """Answers beside an empty Hydra program, and the first step beside importing what it needs."""
    place = Path(tempfile.mkdtemp(prefix="benchmark_startup_"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "conf").mkdir()
    (place / "conf" / "empty.yaml").write_text("seed: 0\n")
    (place / "empty_program.py").write_text(_EMPTY)
    (place / "imports.py").write_text("import torch, torch._dynamo, pytorch_lightning\n")
    empty = partial(start, [str(place / "empty_program.py")], place)

    def answer(*words: str, code: int = 0) -> Callable[[], object]:
        return partial(start, [str(SCRIPTS / "train.py"), *words], place, code)

    rows = {
        "--help": answer("--help"),
        "experiment=small --cfg job": answer("experiment=small", "--cfg", "job"),
        "a wrong key": answer("experiment=small", "model.deph=3", code=2),
        "a wrong value": answer("experiment=small", "optimizer.lr=-1", code=2),
    }
    goal = Goal("more", 0.3)
    pairs = [
        Pair("startup", f"train.py {what}", "ours", "an empty Hydra program", run, empty, goal)
        for what, run in rows.items()
    ]
    imports = partial(start, [str(place / "imports.py")], place)
    return [*pairs, *(_first_step(task, logger, imports) for logger in ("csv", "wandb"))]


def _first_step(task: Benchmark, logger: str, imports: Callable[[], object]) -> Pair:
    words = ["experiment=small", "trainer.max_steps=1", f"logger={logger}", *task.words]
    words += ["data.train_images=2", "data.val_images=1", "data.test_images=1", "scheduler.warmup_steps=0"]
    words += ["data.height=64", "data.width=64", "data.tile=32"] if task.quick else []

    def first() -> Timed:
        return Timed(train_until_first_step(words))

    what, other = f"experiment=small logger={logger}: to the first step", "importing torch and Lightning alone"
    return Pair("startup", what, "ours", other, first, imports, None, 5)
