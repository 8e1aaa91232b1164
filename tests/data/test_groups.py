"""How runs are put into groups, and how the groups are named."""

import math
from itertools import product
from typing import Any

import pytest
from sweeps_on_disk import ADD, CONCAT, run_in_memory, runs_of

from unet_exp.compare.comparison import compare_runs
from unet_exp.errors import ConfigError


@pytest.mark.parametrize(
    ("configs", "labels"),
    [
        ([{}, {}], ["all runs"]),
        ([CONCAT, ADD], ["fusion=concat", "fusion=add"]),
        ([{"name": "x"}, {"output": "y"}, {"logger.name": "wandb"}, {"data.root": "z"}], ["all runs"]),
        ([{"data.num_workers": 3}, {"trainer.accelerator": "cpu"}, {"metrics.warping": True}], ["all runs"]),
        ([{"inference.batch_size": 4}, {"trainer.devices": 2}, {"metrics.warping_radius": 5}], ["all runs"]),
        ([{"init_from": None}, {"init_from": "best.ckpt"}], ["init_from=null", "init_from=best.ckpt"]),
        ([{"trainer.overfit": False}, {"trainer.overfit": True}], ["trainer.overfit=false", "trainer.overfit=true"]),
        (
            [{"loss.class_weights": [1.0, 2.5]}, {"loss.class_weights": None}],
            ["loss.class_weights=[1.0,2.5]", "loss.class_weights=null"],
        ),
        (
            [{"model.width": 8, **CONCAT}, {"model.width": 8, **ADD}, {"model.width": 16, **ADD}],
            ["model.width=8, fusion=concat", "model.width=8, fusion=add", "model.width=16, fusion=add"],
        ),
        # what the word of a model stands for is not said again ...
        (
            [{"model.name": "valid", "model.padding": "valid", "model.align": "crop"}, {"model.name": "same"}],
            ["model=valid", "model=same"],
        ),
        # ... but what merely goes with it is: the comparison is of both.
        (
            [{"model.name": "valid", "model.width": 8}, {"model.name": "same", "model.width": 16}],
            ["model=valid, model.width=8", "model=same, model.width=16"],
        ),
        # a key that one option alone has
        (
            [{"loss.name": "bce"}, {"loss.name": "border_weighted", "loss.w0": 10.0}],
            ["loss=bce", "loss=border_weighted"],
        ),
        (
            [
                {"loss.name": "bce"},
                {"loss.name": "border_weighted", "loss.w0": 10.0},
                {"loss.name": "border_weighted", "loss.w0": 20.0},
            ],
            ["loss=bce", "loss=border_weighted, loss.w0=10.0", "loss=border_weighted, loss.w0=20.0"],
        ),
        ([{}, {"trainer.later": 1}], ["without trainer.later", "trainer.later=1"]),
    ],
)
def test_groups_are_named_by_what_a_user_would_type(configs: list[dict[str, Any]], labels: list[str]) -> None:
    comparison = compare_runs(
        [run_in_memory({"seed": seed, **config}, {"a": 0.5}) for seed, config in enumerate(configs)]
    )
    assert [group.label for group in comparison.groups] == labels


def test_a_preset_key_that_was_typed_is_shown() -> None:
    valid = {"model.name": "valid", "model.relu_after_upsample": True}
    runs = [
        run_in_memory({**valid, "seed": 0}, {"a": 0.5}, overrides=["model=valid", "model.relu_after_upsample=true"]),
        run_in_memory({"seed": 0}, {"a": 0.5}, overrides=["model=same"]),
    ]
    comparison = compare_runs(runs)
    assert comparison.varying == ["model", "model.relu_after_upsample"]
    assert comparison.groups[0].settings == {"model": "valid", "model.relu_after_upsample": True}


def test_a_key_of_one_option_that_was_typed_is_shown() -> None:
    weighted = {"loss.name": "border_weighted", "loss.w0": 20.0}
    runs = [
        run_in_memory({"loss.name": "bce"}, {"a": 0.5}, overrides=["loss=bce"]),
        run_in_memory(weighted, {"a": 0.5}, overrides=["loss=border_weighted", "loss.w0=20"]),
    ]
    assert [group.label for group in compare_runs(runs).groups] == ["loss=bce", "loss=border_weighted, loss.w0=20.0"]


def test_a_preset_that_a_config_file_changed_is_shown() -> None:
    configs: list[dict[str, Any]] = [{}, {"model.relu_after_upsample": True}, {"model.name": "valid"}]
    comparison = compare_runs([run_in_memory(config, {"a": 0.5}) for config in configs])
    assert [group.label for group in comparison.groups] == [
        "model=same, model.relu_after_upsample=false",
        "model=same, model.relu_after_upsample=true",
        "model=valid, model.relu_after_upsample=false",
    ]


def test_groups_of_one_label_are_not_mixed_up() -> None:
    runs = [run_in_memory({"init_from": odd}, {"a": score}) for odd, score in ((None, 0.5), ("1", 0.6), (1, 0.7))]
    comparison = compare_runs(runs)
    assert [group.label for group in comparison.groups] == ["init_from=null", "init_from=1", "init_from=1"]
    assert comparison.table()["difference"].tolist()[1:] == pytest.approx([0.1, 0.2])


def test_scores_are_means_over_a_runs_images_without_the_undefined_ones() -> None:
    run = run_in_memory({"seed": 3}, {"a": 0.5, "b": 0.7, "c": math.nan})
    (group,) = compare_runs([run]).groups
    assert group.scores["iou/mean"].tolist() == pytest.approx([0.6])
    assert group.scores.index.names == ["seed", "fold"]
    assert group.scores.index.get_level_values("seed").tolist() == [3]


def test_an_estimate_is_over_runs() -> None:
    (group,) = compare_runs(runs_of(CONCAT, {0: 0.6, 1: 0.7, 2: 0.8})).groups
    assert (group.estimate.n, group.estimate.mean, group.estimate.std) == (3, pytest.approx(0.7), pytest.approx(0.1))
    assert 0.6 - 1e-12 <= group.estimate.low < 0.7 < group.estimate.high <= 0.8 + 1e-12


@pytest.mark.parametrize("wanted", ["add", "fusion=add", "fusion=add, model.width=8", "model.width=8,fusion=add"])
def test_a_baseline_is_named_by_its_label_or_by_what_it_alone_has(wanted: str) -> None:
    runs = [
        run_in_memory({"seed": 0, "model.width": 8, **CONCAT}, {"a": 0.5}),
        run_in_memory({"seed": 0, "model.width": 16, **CONCAT}, {"a": 0.5}),
        run_in_memory({"seed": 0, "model.width": 8, **ADD}, {"a": 0.5}),
    ]
    wanted = wanted.replace("fusion=add, model.width=8", "model.width=8, fusion=add")
    comparison = compare_runs(runs, baseline=wanted)
    assert comparison.baseline.label == "model.width=8, fusion=add"
    assert comparison.groups[0] is comparison.baseline
    assert [difference.group for difference in comparison.differences] == comparison.groups[1:]
    assert compare_runs(runs).baseline.label == "model.width=8, fusion=concat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"baseline": "nonsense"}, "baseline=nonsense names no group; type one of: baseline=fusion=concat or "),
        ({"baseline": "16"}, "baseline=16 names no group"),
        ({"metric": "iou/moon"}, "metric=iou/moon: the runs do not have it (did you mean iou/mean?); choose one of "),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"alpha": math.nan}, "alpha=nan"),
    ],
)
def test_mistakes_in_the_words_are_told(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        compare_runs([*runs_of(CONCAT, {0: 0.5}), *runs_of(ADD, {0: 0.5})], **words)
    assert str(mistake.value).startswith(said)


def test_an_ambiguous_baseline_lists_what_it_could_be() -> None:
    runs = [
        run_in_memory({"seed": 0, "model.width": width, **fusion}, {"a": 0.5})
        for width, fusion in product((8, 16), (CONCAT, ADD))
    ]
    with pytest.raises(ConfigError) as mistake:
        compare_runs(runs, baseline="add")
    assert str(mistake.value).endswith(
        "several groups; type one of: 'baseline=model.width=8, fusion=add' or 'baseline=model.width=16, fusion=add'"
    )
