"""The page of one run: what it says, that names are text, and that it never fails a training."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import Train

from unet_exp.config import ClassSpec
from unet_exp.errors import DataError, TrainingError
from unet_exp.figures.overlay import draw_panels
from unet_exp.files import write_csv
from unet_exp.io.writing import write_image
from unet_exp.pages.pictures import rank, read_legend
from unet_exp.pages.run_page import write_run_page
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import BestEpoch, Summary

EVIL = "<script>alert(1)</script>&\"'{{ 7 * 7 }}"
CLASSES = [
    ClassSpec(name="membrane", value=0, color=[10, 20, 30]),
    ClassSpec(name=EVIL, value=255, color=[200, 210, 220]),
]


class Outline(HTMLParser):
    """Elements with their attributes, all text, and the text of each element by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.by_tag: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)
            self.by_tag.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} is not closed in order"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data
        if self._open:
            self.by_tag[self._open[-1]][-1] += data

    def facts(self) -> dict[str, str]:
        return dict(zip(self.by_tag["dt"], self.by_tag["dd"], strict=True))


def page_of(folder: RunFolder) -> Outline:
    return Outline(folder.page.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Of a run with names that a stranger has chosen."""
    made = RunFolder(tmp_path / "run").prepare()
    made.write_config({"name": EVIL, "data": {"name": EVIL, "tile": 32}, "trainer": {"monitor": "val/iou/mean"}})
    rows = [{"epoch": n, "step": 10 * n + 10, "lr": 0.1, "train/loss": 1, "val/iou/mean": n / 9} for n in range(4)]
    write_csv(made.metrics, rows)
    write_csv(
        made.per_image,
        [{"image": name, "iou/mean": score} for name, score in zip("abcd", (0.5, 0.1, 0.9, ""), strict=True)],
    )
    for name in "abcd":
        image, label = np.zeros((9, 12, 1), np.uint8), np.zeros((9, 12), np.uint8)
        write_image(made.picture("test", name), draw_panels(image, label, 1 - label, CLASSES))
    return made


def summary_of(**fields: Any) -> Summary:
    metrics = {"test/iou/membrane": 0.25, f"test/iou/{EVIL}": None, "test/iou/mean": 0.5, "test/loss": 0.75}
    values: dict[str, Any] = {"status": "finished", "metrics": metrics, "steps": 40, "epochs": 4, "overrides": [EVIL]}
    return Summary(**{**values, "best": BestEpoch(monitor="val/iou/mean", value=0.3333), **fields})


def test_it_says_what_was_trained_and_how_it_went(folder: RunFolder) -> None:
    write_run_page(folder, summary_of(parameters=1234, seed=7, split={"train": ["a", "b"], "test": ["c"]}), CLASSES)
    page = page_of(folder)
    assert "Training: finished" in page.text
    assert "40 steps in 4 epochs. Best epoch: val/iou/mean 0.3333." in page.text
    facts = page.facts()
    assert facts["seed"] == "7"
    assert facts["size"] == "1,234 parameters"
    assert "images: train 2, test 1; patches of 32 pixels" in facts["data"]
    assert facts["loss (lower is better)"] == "0.7500"
    assert page.by_tag["td"][:3] == ["0.2500", "undefined", "0.5000"]
    assert [text for text in page.by_tag["h3"] if "image" in text] == [
        "Worst image: b",
        "Median image: a",
        "Best image: c",
    ]
    assert sum(tag == "img" for tag, _ in page.elements) == 12
    assert f"rerun={folder.path}" in page.text


def test_what_the_checks_warned_of_stands_before_the_scores(folder: RunFolder) -> None:
    write_run_page(folder, summary_of(warnings=["the test images are of one group (<b>p7</b>)"]), CLASSES)
    page = page_of(folder)
    assert "the test images are of one group (<b>p7</b>)" in page.by_tag["li"]
    assert "Before you rely on it" in page.text
    write_run_page(folder, summary_of(), CLASSES)
    assert "Before you rely on it" not in page_of(folder).text


@pytest.mark.parametrize(
    ("precision", "shown"),
    [("32", "cpu, float32"), ("bf16-mixed", "cpu, bfloat16 mixed with float32"), ("64", "cpu, 64")],
)
def test_the_precision_is_named(folder: RunFolder, precision: str, shown: str) -> None:
    write_run_page(folder, summary_of(device="cpu", precision=precision), CLASSES)
    assert page_of(folder).facts()["device"] == shown


def test_scores_have_titles_thresholds_and_units(folder: RunFolder) -> None:
    metrics = {
        **{"test/hausdorff95/cell": 2.5, "test/distances_undefined/cell": 3.0, "test/iou/membrane": 0.1},
        **{"test/iou/mean": 0.2, "test/iou/cell": 0.3, "test/rand_error": 0.0123, "test/rand_error_threshold": 0.5},
        **{"test/rand_error_at_val": 0.25, "test/rand_error_threshold_at_val": 0.4, "test/mine": 1.0},
    }
    write_run_page(folder, summary_of(metrics=metrics, distance_unit="µm"), CLASSES)
    page = page_of(folder)
    assert page.by_tag["th"][:4] == ["score", "cell", "membrane", "mean"]
    assert page.by_tag["td"][:9] == ["2.5000", "", "", "3", "", "", "0.3000", "0.1000", "0.2000"]
    assert page.by_tag["td"][9:13] == ["0.0123", "0.50", "0.2500", "0.40"]
    assert {"at the threshold chosen on val", "threshold chosen on val"} <= set(page.by_tag["th"])
    assert {"Hausdorff 95 (lower is better)", "images without a distance", "Rand error (lower is better)"} <= set(
        page.by_tag["span"]
    )
    assert page.facts()["mine"] == "1.0000"
    assert "Distances in µm; tolerance of the surface Dice: the longer side of a pixel." in page.text
    assert "prediction IoU 0.100" in page.text
    assert "error 0.1" not in page.text


def test_each_table_scrolls_in_its_box(folder: RunFolder) -> None:
    metrics = {"test/iou/cell": 0.3, "test/rand_error": 0.0123, "test/rand_error_threshold": 0.5}
    write_run_page(folder, summary_of(metrics=metrics), CLASSES)
    text = folder.page.read_text()
    assert len(re.findall("<table", text)) == 3
    assert len(re.findall(r'<div class="scroll" tabindex="0"[^>]*>\s*<table', text)) == 3
    assert "overflow-x: auto" in text


def test_own_parts_are_named_and_repeating_asks_for_trust(folder: RunFolder) -> None:
    inner = {"name": "OneOf", "p": 0.5, "transforms": [{"name": "RandomGamma", "gamma_limit": [70, 140]}]}
    augmentation = {"name": "albumentations", "transforms": [{"name": "D4", "p": 1}, inner], "then": None}
    own = {"name": "holes", "target": "theirs.Holes", "direction": "min", "params": {"index": 1}}
    watching = {"target": "watch.Norms", "params": {}}
    config = {"name": "x", "augmentation": augmentation, "metrics": {"own": [own]}, "callbacks": [watching]}
    folder.write_config(
        {**config, "data": {"name": "folder", "pixel_size": [0.5, 0.7]}, "trainer": {"monitor": "val/loss"}}
    )
    words = ["augmentation=mine", "data=folder", "seed=3", "logger=[wandb,tensorboard]"]
    write_run_page(folder, summary_of(overrides=words), CLASSES)
    page = page_of(folder)
    facts = page.facts()
    assert facts["augmentation"] == "albumentations: D4 (p 1), OneOf (p 0.5, of RandomGamma (gamma_limit [70, 140]))"
    assert facts["own scores"] == "holes (theirs.Holes, index 1)"
    assert facts["callbacks"] == "watch.Norms"
    assert facts["pixel size"] == "0.5 x 0.7"
    assert "augmentation=mine: from the user's own files" in page.text
    assert f"rerun={folder.path} 'trust=[theirs,watch]'" in page.text


def test_names_are_text_and_nothing_is_fetched(folder: RunFolder) -> None:
    write_run_page(folder, summary_of(error=EVIL, status="failed"), CLASSES)
    text, page = folder.page.read_text(), page_of(folder)
    assert page.text.count("alert(1)") >= 5, "name, words, error, class in the table and in the legend"
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object")]
    assert "http" not in text
    assert "49" not in page.by_tag["h1"][0]
    for _, attributes in page.elements:
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert re.fullmatch(r"[\w.]*|#.*", attributes.get("href") or "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "failed", "error": "ValueError: no luck"}, "ValueError: no luck"),
        ({"status": "stopped", "error": "stopped by SIGTERM"}, "stopped by SIGTERM"),
        ({"status": "stopped", "pruned_at": 30}, "pruned by the search after 30 steps"),
        ({"checkpoint": ["a.ckpt", "b.ckpt"], "step": [3, 4]}, "a.ckpt, b.ckpt"),
        (
            {"ended_by": "trainer.max_time", "planned_steps": 3000},
            "Ended by trainer.max_time at step 40 of 3,000 in 4 ",
        ),
        ({"ended_by": "trainer.max_time", "planned_steps": None}, "Ended by trainer.max_time at step 40 in 4 epochs"),
        ({"status": "stopped", "steps": 82, "epochs": 0}, "82 steps. Best"),
        ({"steps": 1, "epochs": 1}, "1 step in 1 epoch. Best"),
        ({"resumed": [{"step": 3, "time": "now"}]}, "resumedonce"),
        ({"resumed": [{"step": 3, "time": "now"}] * 3}, "resumed3 times"),
    ],
)
def test_however_it_ended(folder: RunFolder, fields: dict[str, Any], said: str) -> None:
    write_run_page(folder, summary_of(**fields), CLASSES)
    assert said in page_of(folder).text


@pytest.mark.parametrize(
    ("fields", "again"),
    [
        ({}, "rerun"),
        ({"status": "stopped"}, "resume"),
        ({"status": "failed"}, "resume"),
        ({"status": "stopped", "pruned_at": 30}, None),
        ({"checkpoint": "a.ckpt"}, None),
    ],
)
def test_it_prints_the_command_that_the_run_takes(folder: RunFolder, fields: dict[str, Any], again: str | None) -> None:
    own = {"loss": {"name": "custom", "target": "theirs.Loss"}, "trainer": {"monitor": "val/loss"}}
    folder.write_config({"name": "x", **own})
    write_run_page(folder, summary_of(overrides=None, **fields), CLASSES)
    line = f"python scripts/train.py {again}={folder.path} 'trust=[theirs]'"
    assert page_of(folder).by_tag.get("pre", []) == ([] if again is None else [line])


def test_of_a_run_that_never_began(tmp_path: Path) -> None:
    empty = RunFolder(tmp_path)
    empty.write_config({"name": "early", "trainer": {"monitor": "val/loss"}})
    write_run_page(empty, Summary(status="failed", error="no data"), [])
    page = page_of(empty)
    assert "No epoch came to its end." in page.text
    assert "it did not come to a test" in page.text
    assert "None is drawn." in page.text


def test_pictures_come_from_the_run_alone_and_may_be_damaged(folder: RunFolder) -> None:
    names = ("../../run/predictions/test_a", "gone", "a")
    write_image(folder.path.parent / "test_a.png", np.full((50, 80, 3), 9, np.uint8))
    write_csv(folder.per_image, [{"image": name, "iou/mean": 0.1 * place} for place, name in enumerate(names)])
    folder.picture("test", "a").write_bytes(b"no picture")
    write_run_page(folder, summary_of(), CLASSES)
    assert "no picture" in page_of(folder).text
    assert "<img" not in folder.page.read_text()


def test_pictures_of_scores_are_shown_where_they_are(folder: RunFolder) -> None:
    write_image(folder.confusion_picture, np.full((8, 9, 3), 200, np.uint8))
    folder.curves_picture.write_bytes(b"no picture")
    write_run_page(folder, summary_of(), CLASSES)
    page = page_of(folder)
    shown = {attributes.get("alt") or "": attributes["src"] for tag, attributes in page.elements if tag == "img"}
    (source,) = (source for alt, source in shown.items() if alt.startswith("Confusion matrix."))
    assert source == "data:image/png;base64," + base64.b64encode(folder.confusion_picture.read_bytes()).decode()
    assert "ROC" not in page.text


def test_images_without_labels_are_shown_too(folder: RunFolder) -> None:
    for name in ("x", "y"):
        image, label = np.zeros((9, 12, 1), np.uint8), np.ones((9, 12), np.uint8)
        write_image(folder.picture("unlabelled", name), draw_panels(image, None, label, CLASSES))
    write_run_page(folder, summary_of(metrics={}), CLASSES)
    page = page_of(folder)
    assert "Images without labels." in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == 6


def test_rank_and_legend(folder: RunFolder) -> None:
    assert rank([]) == {}
    assert rank(["a"]) == {"only": "a"}
    assert rank(["a", "b"]) == {"worst": "a", "best": "b"}
    assert (read_legend(folder, "test", "a") or "").startswith("data:image/png;base64,")
    assert read_legend(folder, "test", "none") is None


# --- of real runs ---


def test_a_training_has_a_page(finished: RunFolder) -> None:
    page = page_of(finished)
    assert "Training: finished" in page.text
    assert page.facts()["seed"] == "1"
    kept = {path.name for path in finished.path.iterdir() if path.is_file()} - {"report.html", ".lock"}
    assert set(page.by_tag["a"]) == kept
    for _, attributes in page.elements:
        if attributes.get("href"):
            assert (finished.path / str(attributes["href"])).is_file()


def test_a_training_that_fails_has_one_too(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        train("model=same", "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_steps=20")
    (page,) = (tmp_path / "out/train").glob("*/report.html")
    assert "Training: failed" in Outline(page.read_text()).text
    assert "the training loss is" in page.read_text()


def test_a_page_that_cannot_be_written_fails_no_training(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr("unet_exp.training.run.write_run_page", fail)
    folder = train("model=same")
    assert folder.read_summary().status == "finished"
    assert "report.html is not written (OSError: no room)" in folder.log.read_text()
    assert not folder.page.exists()


def test_a_damaged_table_of_scores_is_said(folder: RunFolder) -> None:
    write_csv(folder.per_image, [{"image": "a", "iou/mean": "much"}])
    with pytest.raises(DataError, match="per_image\\.csv is damaged"):
        write_run_page(folder, summary_of(), CLASSES)
