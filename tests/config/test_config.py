"""Words and keys: all of them compose, and every mistake is one line that says the key and what is allowed."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

import unet_exp
from unet_exp import extras
from unet_exp.cli import check_data
from unet_exp.cli.command import check_own_names, read_command
from unet_exp.compose import GROUPS, compose_command, compose_over, compose_train, parse_overrides, prepare_words
from unet_exp.config import duration_seconds, parse
from unet_exp.config_files import RECIPES
from unet_exp.errors import ConfigError, UserError
from unet_exp.extras import hint_extra
from unet_exp.files import conf_dir
from unet_exp.known_keys import list_keys
from unet_exp.options import Options
from unet_exp.runs.earlier import keep_places
from unet_exp.runs.run_folder import OUTPUTS, RunFolder
from unet_exp.runs.summary import Summary

CHOICES = (*GROUPS, "search", "experiment", "debug")
OPTIONS = {group: sorted(path.stem for path in (conf_dir() / group).glob("[!_]*.yaml")) for group in CHOICES}

DURATION = "must be a time such as 240 (seconds), 4m, 1h30m or 00:00:04:00"
SWEEP = "several values are a sweep"
READABLE = "words look like model=same or optimizer.lr=0.01"
FILE_NAME = "must be 1 to 100 letters, digits or _ . , = + - (it names the run's folder)"


def one_line(do: Callable[[], object]) -> str:
    """The message of the user's mistake that `do` meets."""
    with pytest.raises(UserError) as caught:
        do()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@cache
def defaults() -> dict[str, Any]:
    return compose_train([])


def with_value(word: str) -> dict[str, Any]:
    """The defaults with one value typed over them; a whole composition would take 0.2 s."""
    values = deepcopy(defaults())
    (override,) = parse_overrides([word])
    *groups, key = override.key_or_group.split(".")
    node = values
    for group in groups:
        node = node[group]
    assert key in node
    node[key] = override.value()
    return values


@pytest.mark.parametrize("number", range(max(len(OPTIONS[group]) for group in CHOICES if group != "experiment")))
def test_every_word_composes_and_its_config_is_plain(number: int) -> None:
    """The options of this number of all groups at once; each experiment is composed and trained elsewhere."""
    chosen = {group: OPTIONS[group][number % len(OPTIONS[group])] for group in CHOICES if group != "experiment"}
    if chosen["model"] == "custom":
        del chosen["fusion"]
    words = [f"{group}={word}" for group, word in chosen.items()]
    needed = [f"{group}.target=package.Class" for group, word in chosen.items() if word == "custom"]
    if chosen["augmentation"] == "albumentations":
        needed.append("augmentation.transforms=[{name: D4}]")
    torch = {"optimizer": "NAdam", "scheduler": "StepLR"}
    needed += [f"{group}.target={name}" for group, name in torch.items() if chosen[group] == "torch"]
    config = parse(compose_train([*words, *needed]))
    for group in set(GROUPS) & set(chosen) - {"trainer"}:
        assert getattr(config, group).name == chosen[group]
    # What a run writes into its folder and its checkpoint gives the same config again.
    assert parse(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config


def test_no_group_is_left_out() -> None:
    folders = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
    assert folders == {*CHOICES}


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("model", "valid same pad release"),
        ("fusion", "concat add none"),
        ("loss", "cross_entropy bce"),
        ("augmentation", "none flips paper strong albumentations custom"),
        ("data", "synthetic isbi2012"),
        ("logger", "wandb csv tensorboard"),
        ("optimizer", "sgd adam adamw rmsprop"),
        ("scheduler", "none poly cosine one_cycle plateau"),
        ("trainer", "default"),
        ("debug", "none fast overfit profile"),
        ("experiment", "small demo"),
    ],
)
def test_the_words_that_people_type_are_there(group: str, words: str) -> None:
    assert set(words.split()) <= set(OPTIONS[group])


def test_the_keys_that_people_type_are_there() -> None:
    words = (
        "seed=1 name=mine init_from=a.ckpt model.depth=4 model.width=8 model.match=parameters "
        "loss.class_weights=[2.5,1] optimizer.lr=0.1 trainer.max_epochs=3 trainer.max_steps=9 trainer.max_time=4m "
        "trainer.accelerator=cpu trainer.devices=1 trainer.precision=32 trainer.monitor=val/loss data=isbi2012 "
        "data.root=here data.tile=64 data.batch_size=2 data.num_workers=1 data.fold=2 data.folds=5 "
        "data.sampling=image data.foreground_share=0.33"
    )
    config = parse(compose_train(words.split()))
    assert (config.seed, config.data.fold) == (1, 2)
    assert parse(compose_train(["data.seed=3"])).data.seed == 3
    assert (config.loss.class_weights, config.trainer.precision) == ([2.5, 1], "32")


def test_defaults_are_the_papers_network_on_embedded_data_with_wandb() -> None:
    config = parse(defaults())
    words = [getattr(config, group).name for group in GROUPS if group != "trainer"]
    assert words == ["valid", "concat", "cross_entropy", "flips", "synthetic", "adam", "none", "none", "wandb"]
    assert (config.model.depth, config.model.width, config.trainer.max_epochs) == (5, 64, 50)
    assert config.name == "synthetic_valid_concat"
    # A limit of the user's own is the only one.
    assert parse(compose_train(["trainer.max_time=4m"])).trainer.max_epochs is None


def test_an_experiment_yields_to_what_is_typed() -> None:
    config = parse(compose_train(["experiment=small", "model=valid", "fusion=add", "optimizer.lr=0.5"]))
    assert (config.model.name, config.fusion.name, config.optimizer.lr) == ("valid", "add", 0.5)
    assert (config.model.depth, config.model.norm, config.optimizer.name) == (4, "batch", "adamw")
    # A class that is named has a default of its own.
    assert compose_train(["experiment=own", "optimizer=torch"])["optimizer"]["lr"] is None
    config = parse(compose_train(["experiment=demo", "debug=overfit"]))
    assert (config.augmentation.name, config.scheduler.name, config.trainer.overfit) == ("none", "none", True)


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        (
            ["trainer.max_steps=40"],
            ["debug=fast sets trainer.max_steps=2, and the typed trainer.max_steps=40 wins"],
        ),
        (["trainer.max_steps=2", "seed=3"], []),
    ],
)
def test_what_outdoes_a_debug_mode_is_told(
    words: list[str], warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    read_command(["debug=fast", *words])
    assert [record.getMessage() for record in caplog.records] == warnings


def test_the_keys_of_an_option_are_those_that_it_composes() -> None:
    options = Options()
    groups = [group for group in options.shipped if group not in (*RECIPES, "hydra/launcher")]
    for words in zip_longest(*map(options.words, groups)):  # many at once: each composition takes a while
        chosen = {group: word for group, word in zip(groups, words, strict=True) if word}
        config = compose_command([f"{group}={word}" for group, word in chosen.items()]).origins.config
        for group, word in chosen.items():
            names = ", ".join(map(str, config[group]))
            shown = group if group == "trainer" else f"{group}={word}"
            assert list_keys(config, group) == f"{shown} has the keys {names}"


MODEL_KEYS = "model=valid has the keys name, padding, align, depth, width, norm, upsample, dropout"
TOP_KEYS = "the top-level keys are model, fusion, loss, augmentation, data, optimizer, scheduler, trainer, inference"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("inference.blend=600", ["inference.tile=1024 is too small", "inference.blend=600"]),
        ("inference=rotations7 inference.angles=[]", ["inference.angles=[]", "at least 1"]),
        (
            "inference.angles=[0]",
            ["unknown key inference.angles: it is of inference=rotations7, type that too; inference=none has the keys"],
        ),
        ("augmentation=none augmentation.transforms=[]", ["it is of augmentation=albumentations, type that too"]),
        ("augmentation=albumentations augmentation.then=[]", ["augmentation=flips, ", " augmentation=paper and "]),
        ("loss=border_weighted loss.sigma=0", ["loss.sigma=0", "greater than 0"]),
        (
            "loss=border_weighted loss.class_weights=median",
            ["loss.class_weights='median': must be null, inverse, frequency or a list of numbers, such as [1,2.5]"],
        ),
        ("augmentation=paper augmentation.grid=1", ["augmentation.grid=1", "greater than or equal to 2"]),
        ("augmentation=paper augmentation.rotation=270", ["augmentation.rotation=270", "less than or equal to 180"]),
        # A word that is no option: near, far, of each kind of group.
        ("model=vlaid", ["model=vlaid: no such option", "pad, release, same, valid (did you mean valid?)"]),
        ("fusion=multiply", ["fusion=multiply: no such option; choose one of add, attention, concat, none"]),
        ("fusion=null", ["fusion=null: no such option; choose one of add, attention, concat, none"]),
        ("optimizer={lr:1}", ["optimizer=", "no such option; choose one of adam, adamw, custom, rmsprop, sgd, torch"]),
        ("experiment=smal", ["experiment=smal: no such option", "small (did you mean small?)"]),
        ("experiment=null", ["experiment=null: no such option"]),
        ("debug=fats", ["debug=fats: no such option", "fast, none, overfit, profile (did you mean fast?)"]),
        ("trainer=quick", ["trainer=quick: no such option; choose one of ddp, default"]),
        ("hydra/launcher=jobli", ["hydra/launcher=jobli: no such option", "did you mean joblib?"]),
        (
            "hydra/launcher=joblib hydra.launcher.njobs=2",
            ["hydra.launcher has the keys", "(did you mean hydra.launcher.n_jobs?)"],
        ),
        # A key that does not exist: near, far, of another option, added, deleted.
        ("model.dept=3", [f"unknown key model.dept (did you mean model.depth?): {MODEL_KEYS}", " more"]),
        ("modle=valid", [f"unknown key modle (did you mean model?): {TOP_KEYS}"]),
        ("modle.depth=3", [f"unknown key modle.depth (did you mean model?): {TOP_KEYS}"]),
        ("colour=3", [f"unknown key colour: {TOP_KEYS}"]),
        # What other programs call so, or what is a key elsewhere.
        ("learning_rate=3", [f"unknown key learning_rate (did you mean optimizer.lr?): {TOP_KEYS}"]),
        ("trainer.gpus=3", ["unknown key trainer.gpus (did you mean trainer.devices?): trainer has the keys max_ep"]),
        *(
            (word, [f"unknown key {word.split('=')[0].strip('~')} (did you mean {meant}?)"])
            for meant, words in {
                "logger=csv, without W&B": ("trainer.logger=false", "~trainer.logger", "logging=None"),
                "logger": ("trainer.logger=wandb", "trainer.logger=true", "logging=[csv]"),
                "trainer.accelerator": ("device=cuda",),
                "trainer.accelerator or trainer.devices": ("trainer.device=1",),
                "trainer.max_steps": ("steps=3", "trainer.steps=3"),  # not sweep
                "logger.mode": ("mode=offline",),  # not model
                "data.num_workers": ("workers=2", "data.workers=2"),
                "loss.class_weights": ("weights=[1,2]", "loss.weights=[1,2]"),
            }.items()
            for word in words
        ),
        # Only the last of many words, which says too little.
        ("data.channels=3", ["unknown key data.channels: data=synthetic has the keys"]),
        ("channels=3", [f"unknown key channels: {TOP_KEYS}"]),
        ("trainer.fast_dev_run=true", ["unknown key trainer.fast_dev_run (did you mean debug=fast?)"]),
        ("trainer.gradient_clip_val=1", ["(did you mean trainer.clip_norm?)"]),
        ("logger.name=my-run", ["logger.name=my-run: the run's name is name=my-run"]),
        *(
            (f"logger={word}", [f"logger={word}: no such option; logger=csv writes metrics.csv alone, and switches W"])
            for word in ("null", "none", "false")
        ),
        ("~logger", ["an option is not taken away", "; logger=csv writes metrics.csv alone, and switches W&B off"]),
        ("search.name=tpe", ["search.name=tpe: type search=optuna search.sampler=tpe"]),
        ("model.name=vlaid", ["choose the whole option with model=..., one of custom, ", "(did you mean valid?)"]),
        ("search=optuna search.trial=3", ["(did you mean search.trials?): search=optuna has the keys name, trials, "]),
        ("search.trials=3", ["search.trials: it is of search=optuna, type that too; search=none has the keys name"]),
        ("search=random", ["search=random: no such option; type search=optuna search.sampler=random"]),
        ("epochs=3", [f"unknown key epochs (did you mean trainer.max_epochs?): {TOP_KEYS}"]),
        ("tile=3", ["unknown key tile (did you mean data.tile or inference.tile?)"]),
        ("model.fusion=add", ["unknown key model.fusion (did you mean fusion?): model=valid has the keys name"]),
        ("seed.x=3", ["unknown key seed.x: seed has no keys"]),
        # It is named whatever stands beside it.
        (
            "experiment=small debug=fast optimizer.learning_rate=1",
            ["unknown key optimizer.learning_rate (did you mean optimizer.lr?): optimizer=adamw"],
        ),
        (
            "search=optuna model=same experiment=small modle.depth=3",
            [f"unknown key modle.depth (did you mean model?): {TOP_KEYS}"],
        ),
        (
            "+model.x.y=3 experiment=small data=isbi2012 data.height=1",
            ["unknown key data.height: it is of data=synthe"],
        ),
        ("data.images=scans", ["unknown key data.images: it is of data=folder, type that too; data=synthetic has"]),
        ("augmentation.rotation=9", ["it is of augmentation=paper and augmentation=strong, type one of these too"]),
        (
            "seed=${nothing} debug=overfit trainer.max_step=1",
            ["unknown key trainer.max_step (did you mean trainer.max_steps?): "],
        ),
        (
            "optimizer.momentum=0.9",
            ["type one of these too; optimizer=adam has the keys name, lr, betas, weight_decay"],
        ),
        (
            "data=isbi2012 data.height=64",
            ["unknown key data.height: it is of data=synthetic", "data=isbi2012 has the keys name, tile, batch_size"],
        ),
        ("logger=csv logger.mode=offline", ["it is of logger=wandb, type that too; logger=csv has the keys name"]),
        ("+model.colour=red", ["unknown key model.colour"]),
        ("++colour=red", ["unknown key colour"]),
        ("+model=same", ["+model=same: type it without +"]),
        ("+seed=3", ["+seed=3: seed is there already; type it without +"]),
        ("model@x=same", ["model@x=same: leave out @x"]),
        ("metrics=3", ["metrics=3: metrics has the keys warping, warping_radius, pictures"]),
        ("~seed", ["~seed: a key is not taken away, and null is no value of it; leave it out"]),
        ("~model.depth", ["~model.depth: a key is not taken away"]),
        ("~callbacks", ["~callbacks: a key is not taken away"]),
        ("model.depth=null", ["model.depth=null: should be a valid integer"]),
        ("~trainer.max_steps=3", ["~trainer.max_steps=3: type ~trainer.max_steps alone, which sets it to null"]),
        ("~trainer.max_step", ["unknown key trainer.max_step (did you mean trainer.max_steps?): "]),
        ("~model.encoder", ["unknown key model.encoder: it is of model=encoder, type that too; model=valid has the k"]),
        ("model=encoder ~model.encoder", ["~model.encoder: a key is not taken away, and null is no value of it"]),
        ("~loss.name", ["choose the whole option with loss="]),
        ("~metrics", ["metrics has the keys warping, warping_radius, pictures"]),
        *(
            (f"~{word}", [f"~{word}: an option is not taken away; leave it out, or choose one of {options}"])
            for word, options in (
                ("logger", "csv, mlflow, tensorboard, wandb"),
                ("scheduler", "cosine, custom, none"),
                ("search", "none, optuna"),
                ("experiment=small", "blocks, blog, "),
            )
        ),
        # What nothing would read.
        *(
            (word, [f"{word}: this is not typed; of Hydra's own settings only hydra/launcher and hydra.launcher"])
            for word in (
                "hydra.job.chdir=true",
                "hydra.run.dir=here",
                "hydra.output_subdir=x",
                "hydra.verbose=true",
                "hydra/job_logging=default",
                "+hydra.job.env_set.A=1",
                "hydra.searchpath=[file://x]",
                "hydra.mode=RUN",
            )
        ),
        ("hydra.launcher.n_jobs=2", ["unknown key hydra.launcher.n_jobs: hydra.launcher has no keys"]),
        (
            "hydra/launcher=slurm hydra.launcher.additional_parameters.exclude=n7",
            ["additional_parameters is empty; +hydra.launcher.additional_parameters.exclude=... adds it"],
        ),
        (
            "hydra/launcher=slurm hydra.launcher.additional_parameters={exclude:n7}",
            [": +hydra.launcher"],
        ),
        # What does not go together.
        ("data=isbi2012 data.split=half", ["data.split='half': should be 'held_out' or 'all'"]),
        ("model=release fusion=add", ["fusion=add cannot add 128 channels to 64: set fusion=concat or fusion=none"]),
        ("model=valid model.align=pad", ["model.align=pad does not go with model.padding=valid", "model.align=crop"]),
        ("model=same model.align=crop", ["model.align=crop does not go with model.padding=same", "model.align=exact"]),
        (
            "trainer.precision=16-mixed trainer.accelerator=cpu",
            ["trainer.precision=16-mixed needs a GPU; on a CPU take 32, bf16-mixed or auto"],
        ),
        (
            "augmentation=paper augmentation.device=gpu trainer.accelerator=cpu",
            ["augmentation.device=gpu needs a training on CUDA; take auto or cpu"],
        ),
        ("augmentation=flips augmentation.device=cpu", ["unknown key augmentation.device"]),
        *(
            (
                f"scheduler={word} trainer.max_time=4m",
                [f"scheduler={word} needs to know where the training ends", "trainer.max_steps or trainer.max_epochs"],
            )
            for word in ("poly", "cosine", "one_cycle")
        ),
        (
            "optimizer=sgd optimizer.nesterov=true optimizer.momentum=0",
            ["optimizer.nesterov=true needs optimizer.momentum above 0"],
        ),
        ("data.fold=1", ["data.fold=1 needs data.folds (3 or more)"]),
        ("data.folds=1", ["data.folds must be 0 (the standard split) or at least 3"]),
        ("data.folds=2", ["data.folds must be 0 (the standard split) or at least 3"]),
        ("data.folds=3 data.fold=3", ["data.fold=3 must be less than data.folds=3"]),
        ("data=isbi2012 data.split=all data.folds=3", ["data.split=all", "leave data.folds at 0"]),
        # Text that Hydra reads otherwise than it was meant, or not at all.
        ("model=valid,same", [f"model=valid,same: {SWEEP}", "train.py -m"]),
        ("seed=0,1", [f"seed=0,1: {SWEEP}"]),
        ("seed=range(3)", [f"seed=range(3): {SWEEP}"]),
        ("fusion=[concat,add]", ["fusion=[concat,add]: one option is needed here", "-m fusion=a,b"]),
        ("model.name=same", ["model.name=same: choose the whole option with model=same"]),
        ("loss=border_weighted loss.w0=none", ["loss.w0='none': must be a number; 0 switches it off"]),
        ("optimizer.lr=[0.1", ["cannot read 'optimizer.lr=[0.1'", READABLE]),
        ("seed=range[3]", ["cannot read 'seed=range[3]': did you mean 'seed=range(3)'?"]),
        ("seed", ["cannot read 'seed'", READABLE]),
        ("=3", ["cannot read '=3'", READABLE]),
        ("--sed=3", ["cannot read '--sed=3'", READABLE]),
        ("seed=${nothing}", ["'nothing' not found"]),
        ("seed=${oc.env:NO_SUCH_VARIABLE}", ["NO_SUCH_VARIABLE"]),
    ],
)
def test_a_mistake_is_one_line_that_says_the_key_and_what_is_allowed(words: str, parts: list[str]) -> None:
    text = one_line(lambda: parse(compose_train(words.split())))
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("model.depth=3.5", ["model.depth=3.5: should be a valid integer"]),
        ("model.depth=three", ["model.depth='three': should be a valid integer"]),
        ("model.depth=0", ["model.depth=0: should be greater than or equal to 1"]),
        ("model.depth=9", ["model.depth=9: should be less than or equal to 8"]),
        ("seed=-1", ["seed=-1: should be greater than or equal to 0"]),
        ("seed=", ["seed='': should be a valid integer"]),
        ("trainer.max_steps=true", ["trainer.max_steps=True: should be a valid integer"]),
        ("optimizer.lr=0", ["optimizer.lr=0: should be greater than 0"]),
        ("optimizer.lr=fast", ["optimizer.lr='fast': should be a valid number"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan: should be a finite number"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas=[0.9]: ", "at least 2 items"]),
        ("optimizer.betas=[0.9,1.0]", ["optimizer.betas=1.0: should be less than 1"]),
        ("trainer.ema_decay=1", ["trainer.ema_decay=1: should be less than 1"]),
        ("trainer.devices=all", ["trainer.devices='all': should be a valid integer or should be 'auto'"]),
        ("trainer.precision=64", ["trainer.precision='64': should be 'auto', '32', 'bf16-mixed' or '16-mixed'"]),
        ("data.organelles=1", ["data.organelles=1: should be true or false"]),
        ("data.height=31", ["data.height=31: should be greater than or equal to 32"]),
        ("data.name=foo", ["data.name='foo': should be one of 'synthetic', 'isbi2012'"]),
        (
            "model.name=foo",
            ["model.name='foo': should be one of 'valid', 'same', 'pad', 'release', 'encoder', 'custom'"],
        ),
        ("name=1.5/2", ["name='1.5/2': must be 1 to 100 letters"]),
        ("logger.mode=never", ["logger.mode='never': should be 'auto', 'online', 'offline' or 'disabled'"]),
        ("logger.tags=foo", ["logger.tags='foo': should be a list, such as [foo]"]),
        ("logger.group=[a]", ["logger.group=['a']: should be a text"]),
        ("loss.class_weights=[1,-1]", ["loss.class_weights=[1, -1]: ", "greater than or equal to 0"]),
        ("loss.class_weights=[0,0]", ["loss.class_weights=[0, 0]: ", "at least one weight must be more than 0"]),
        ("loss.class_weights=[1]", ["loss.class_weights=[1]: ", "'inverse' or 'frequency' or ", "at least 2 items"]),
        (
            "loss.class_weights=equal",
            ["loss.class_weights='equal': must be null, inverse, frequency or a list of numbers"],
        ),
        ("name=a/b", ["name='a/b': ", FILE_NAME]),
        ("name=..", ["name='..': ", FILE_NAME]),
        ("name=", ["name='': ", FILE_NAME]),
        (f"name={'x' * 101}", [FILE_NAME]),
        ("data.sampling=size", ["data.sampling='size': should be 'area' or 'image'"]),
        ("data.foreground_share=1.1", ["data.foreground_share=1.1: should be less than or equal to 1"]),
        ("trainer.max_time=4x", ["trainer.max_time='4x': ", DURATION]),
        ("trainer.max_time=0", ["trainer.max_time=0: ", DURATION]),
        ("data.pixel_size=-1", ["data.pixel_size=-1: must be the side of a pixel, or its [height,width]"]),
        ("data.pixel_size=[1]", ["data.pixel_size=[1]: must be the side of a pixel, or its [height,width]"]),
        ("callbacks=a.B", ["callbacks='a.B': must be a list, such as [{target: package.module.Class, params: {...}}]"]),
        ("callbacks=[ModelSummary]", ["callbacks[0]='ModelSummary': must be {target: ", "ModelSummary cannot be used"]),
        ("callbacks=[DeviceStatsMonitor]", ["did you mean {target: pytorch_lightning.callbacks.DeviceStatsMonitor}?"]),
        ("metrics.own={name: b}", ["metrics.own={'name': 'b'}: must be a list, such as [{name: "]),
        ("metrics.own=[{name: b, target: x.Y}]", ["metrics.own[0].direction is missing (min or max: which"]),
    ],
)
def test_a_value_of_a_wrong_type_or_range_is_one_line_that_says_what_is_allowed(word: str, parts: list[str]) -> None:
    text = one_line(lambda: parse(with_value(word)))
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "word",
    [
        "name=1",
        "name=2024_01",
        "name=nan",
        "name=true",
        "name=1e3",
        "logger.project=2024",
        "data.root=7",
        "search.study=3",
    ],
)
def test_a_text_key_takes_what_was_typed(word: str) -> None:
    key, _, text = word.partition("=")
    (override,) = parse_overrides([word])
    assert (override.key_or_group, override.value()) == (key, text)


def test_what_a_file_has_for_a_text_is_told_with_quotes() -> None:
    assert one_line(lambda: parse({**defaults(), "name": 202401})) == (
        "name=202401: must be a text; in a file it stands in quotes"
    )


def test_a_typed_word_leaves_out_what_a_recipe_sets_for_another() -> None:
    config = parse(compose_train(["experiment=small", "model=custom", "model.target=package.Class"]))
    assert config.model.name == "custom"
    config = parse(compose_train(["experiment=demo", "data=folder", "data.images=a", "data.masks=b"]))
    assert (config.data.name, config.data.tile) == ("folder", 256)
    assert "model.match is of the U-Net" in one_line(
        lambda: parse(compose_train(["experiment=skip_fusion", "model=encoder", "model.encoder=resnet18"]))
    )


def test_a_typed_root_downloads_only_if_that_is_typed_too() -> None:
    for words, download in ([], True), (["data.root=x"], False), (["data.root=x", "data.download=true"], True):
        assert compose_train(["data=isbi2012", *words])["data"]["download"] is download


@pytest.mark.parametrize("project", ["my/project", "a:b", "", "x" * 129])
def test_a_project_that_wandb_refuses_is_told_at_once(project: str) -> None:
    config = parse({**defaults(), "logger": {**defaults()["logger"], "project": project}})
    assert "W&B takes 1 to 128 letters" in one_line(lambda: check_own_names(config))


def test_a_deleted_key_is_null() -> None:
    words = ["experiment=demo", "trainer.early_stopping=3"]
    assert compose_train(words)["trainer"]["max_time"] == "160s"
    deleted = ["~trainer.early_stopping", "~trainer.max_time", "~loss.class_weights", "~resume"]
    nulls = [f"{word[1:]}=null" for word in deleted]
    assert compose_train([*words, *deleted]) == compose_train([*words, *nulls])
    # A part of a value is really deleted.
    custom = ["loss=custom", "loss.target=a.B", "loss.params={gamma: 1, power: 2}", "~loss.params.gamma"]
    assert compose_train(custom)["loss"]["params"] == {"power": 2}


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "sweep.report=false"])
def test_a_word_of_sweeps_is_not_ignored_by_one_training(word: str) -> None:
    assert (
        one_line(lambda: read_command([word]))
        == f"{word}: this is of a sweep; add -m, or leave it out for one training"
    )


@pytest.mark.parametrize(
    ("data", "weights"),
    [
        ([], [2.5, 1.0]),
        (["data=isbi2012"], [2.5, 1.0]),
        (["data.organelles=true"], None),
        (["data=folder"], None),
        (["data=phc_u373"], None),
        (["data=dic_hela"], None),
        (["data=folder", "loss.class_weights=inverse"], "inverse"),
        (["loss.class_weights=null"], None),
    ],
)
@pytest.mark.parametrize("experiment", ["small", "demo"])
def test_weights_of_membranes_are_only_for_membranes(experiment: str, data: list[str], weights: object) -> None:
    assert compose_train([f"experiment={experiment}", *data])["loss"]["class_weights"] == weights


def test_a_time_beside_another_limit_gives_a_schedule_its_horizon() -> None:
    parse(compose_train(["scheduler=poly", "trainer.max_time=4m", "trainer.max_steps=100"]))
    parse(compose_train(["scheduler=plateau", "trainer.max_time=4m"]))


def test_a_path_may_hold_any_character() -> None:
    path = "it's [a]=(b)/ü, x~"
    words = prepare_words(["data=isbi2012", f"data.root={path}", "init_from=null"])
    assert words[2] == "init_from=null"
    assert prepare_words(["output=out/a.b", "output=3"]) == ["output=out/a.b", "output='3'"]
    assert compose_train(words)["data"]["root"] == path
    assert prepare_words(["-m", "init_from=a,b"]) == ["-m", "init_from=a,b"]
    weights = ["experiment=encoders", "model.weights=imagenet,null"]  # the experiment makes it a sweep
    assert prepare_words(weights) == weights
    for several in ("runs=[a,b]", "data.images=['{a,b}/*.png','c/*.png']", "data.masks={road: 'a/*.png'}"):
        assert prepare_words([several]) == [several]
    assert prepare_words(["data.images={a,b}/*.png"]) == ["data.images='{a,b}/*.png'"]


def test_letters_of_all_scripts_need_no_quotes() -> None:
    words = [
        "data.classes=[{name: Straße, value: Straße}, {name: 猫, value: Ka\u0308tzchen}]",
        "data.ignore=Kätzchen",
        "data.mask_suffix=_Maße",
        "data.masks={Straße: '*_straße.png', b: ж/*.png}",
    ]
    assert prepare_words(words) == words
    data = compose_train(["data=folder", *words])["data"]
    assert data["classes"] == [{"name": "Straße", "value": "Straße"}, {"name": "猫", "value": "Ka\u0308tzchen"}]
    assert (data["ignore"], data["mask_suffix"]) == ("Kätzchen", "_Maße")
    assert data["masks"] == {"Straße": "*_straße.png", "b": "ж/*.png"}


def test_a_key_is_set_whatever_its_default_refers_to(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nname: ${oc.env:NO_SUCH_VARIABLE}\n")
    assert compose_train(["experiment=mine", "name=typed"], str(tmp_path))["name"] == "typed"


def test_a_config_dir_that_was_not_typed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my own/experiment").mkdir(parents=True)
    (tmp_path / "my own/experiment/mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for word, told in (
        ("experiment=mine", "^experiment=mine: my own/experiment/mine.yaml is an option only with --config-dir 'my o"),
        ("experiment=tissue", "; options of your own need --config-dir <folder>$"),
        ("experiment=smal", r"\(did you mean small\?\)$"),
    ):
        with pytest.raises(ConfigError, match=told):
            compose_train([word])
    with pytest.raises(ConfigError, match=r"^experiment=tissue: no such option; choose one of [^;]*$"):
        compose_train(["experiment=tissue"], "my own")


def test_config_dir(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--config-dir {tmp_path}/none: there is no such folder")):
        compose_train([], f"{tmp_path}/none")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose_train(["experiment=mine"], str(tmp_path))["seed"] == 7
    with pytest.raises(ConfigError, match="experiment") as caught:
        compose_train(["experiment=yours"], str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (240, 240),
        ("4m", 240),
        ("90s", 90),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1d2h3m4s", 93784),
        ("00:00:04:00", 240),
        ("1:02:03:04", 93784),
        *((wrong, None) for wrong in ("", "4", "4x", "m4", "4m1h", "-4m", "0s", "00:00:00:00", "4:00", "1.5h", 0, -1)),
    ],
)
def test_durations(text: str | int, seconds: int | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match=re.escape(DURATION)):
            duration_seconds(text)
    else:
        assert duration_seconds(text) == seconds


class TestComposeOver:
    """What evaluate and predict do with a checkpoint's config."""

    ENTRY: ClassVar = {"checkpoint": "", "split": "test"}

    @pytest.fixture
    def base(self) -> dict[str, object]:
        words = ["model=same", "model.depth=3", "data.seed=9", "optimizer=sgd", "optimizer.lr=0.5", "seed=4"]
        return parse(compose_train(words)).model_dump()

    def test_the_base_is_kept(self, base: dict[str, object]) -> None:
        assert compose_over(base, self.ENTRY, []) == {**base, **self.ENTRY}

    def test_a_typed_value_wins(self, base: dict[str, object]) -> None:
        typed = ["split=val", "checkpoint=a.ckpt", "model.depth=2", "data.seed=1", "name=other"]
        values = compose_over(base, self.ENTRY, typed)
        assert (values["split"], values["checkpoint"], values["name"]) == ("val", "a.ckpt", "other")
        assert (values["model"]["depth"], values["data"]["seed"]) == (2, 1)
        assert (values["model"]["name"], values["optimizer"], values["seed"]) == ("same", base["optimizer"], 4)

    def test_a_typed_group_is_replaced_whole(self, base: dict[str, object]) -> None:
        values = compose_over(base, self.ENTRY, ["data=isbi2012", "data.root=here", "optimizer=adam"])
        assert values["data"] == compose_train(["data=isbi2012", "data.root=here"])["data"]
        assert values["optimizer"] == compose_train(["optimizer=adam"])["optimizer"]
        assert values["model"] == base["model"]
        parse({key: value for key, value in values.items() if key not in self.ENTRY})

    @pytest.mark.parametrize(
        ("word", "part"),
        [
            (
                "data=isbi",
                "data=isbi: no such option; choose one of custom, dic_hela, folder, isbi2012, phc_u373, synthetic (did",
            ),
            ("splt=val", "unknown key splt (did you mean split?): the top-level keys are"),
            ("data.hight=64", "unknown key data.hight (did you mean data.height?): data=synthetic has the keys"),
            (
                "data=isbi2012 optimizer=adam optimizer.rate=1",
                "unknown key optimizer.rate: optimizer=adam has the keys",
            ),
            ("split=val,test", SWEEP),
        ],
    )
    def test_mistakes(self, base: dict[str, object], word: str, part: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(part)):
            compose_over(base, self.ENTRY, word.split())


class TestCommandLine:
    """The same mistakes through the entry points, which run nothing and leave nothing."""

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("model=vlaid", "did you mean valid?"),
            ("--help model=vlaid", "did you mean valid?"),
            ("--cfg job model=vlaid", "did you mean valid?"),
            ("model.dept=3", "did you mean model.depth?"),
            ("trainer.max_steps=0", "trainer.max_steps=0: should be greater than or equal to 1"),
            ("--config-dir none", "--config-dir none: there is no such folder"),
            ("seed=0,1", "seed=0,1: several values are a sweep: add -m"),
            ("logger=wandb,mlflow", "add -m; several loggers are a list: did you mean 'logger=[wandb,mlflow]'?"),
            ("logger=wandb,csv", "are a list, and csv is written with all: did you mean logger=wandb?"),
            ("logger.tags=a,b", "add -m; a list is 'logger.tags=[a,b]', and a text with a comma has quotes"),
            ("--cfg job model=valid,same", "several values are a sweep (-m), and --cfg shows one training: type one"),
            # Options after words.
            ("seed=0 --config-dir none data.tile=64", "--config-dir none: there is no such folder"),
            ("seed=0,1 model=release -m fusion=add", "fusion=add cannot add"),
            (
                "-m experiment=small seed=0,1 optimizer.rate=1",
                "unknown key optimizer.rate: optimizer=adamw has the keys",
            ),
            ("-m --cfg job seed=0,1", "--cfg and --info show one training: leave out -m"),
            ("--cfg job -p data.tlie", "--package data.tlie: there is no such key"),
            ("--resolve", "--resolve is not used here"),
            (
                "-cn small",
                "--config-name is not used here; --config-dir adds configs of your own (did you mean experime",
            ),
            ("--lr 0.1", "--lr: keys have no dashes, as in key=value (did you mean optimizer.lr?)"),
            ("--device=cpu", "--device=cpu: keys have no dashes, as in key=value (did you mean trainer.accelerator?)"),
            (
                "--max-epochs=3",
                "--max-epochs=3: keys have no dashes, as in key=value (did you mean trainer.max_epochs?)",
            ),
            ("--seed=3", "--seed=3: type seed=3 (no dashes)"),
            ("--optimizer.lr=3", "--optimizer.lr=3: type optimizer.lr=3 (no dashes)"),
            ("+lr=0.1", f"unknown key lr (did you mean optimizer.lr?): {TOP_KEYS}"),
            ("+trainer.max_step=1", "unknown key trainer.max_step (did you mean trainer.max_steps?): trainer has"),
            ("+foo.bar=1", f"unknown key foo: {TOP_KEYS}"),
            ("~data.tile --cfg job -p data", "~data.tile: a key is not taken away"),
            ("-m hydra.sweeper.params.seed=0,1", "hydra.sweeper.params.seed=0,1: this is not typed; type seed=0,1"),
            # A sweep is checked whole before its first job runs.
            ("-m model=valid,smae", "model=smae: no such option"),
            ("-m seed=0,1 model=valid,release fusion=concat,add", "fusion=add cannot add"),
        ],
    )
    def test_mistakes(self, cli: Callable[..., object], tmp_path: Path, words: str, part: str) -> None:
        said = cli("train", *words.split())
        assert part in said.mistake
        assert said.out == ""
        assert list(tmp_path.iterdir()) == []

    def test_check_data(self, cli: Callable[..., object]) -> None:
        said = cli("check_data", "experiment=small", "--config-dir", ".", "optimizer.learning_rate=1")
        assert said.mistake.startswith(
            "unknown key optimizer.learning_rate (did you mean optimizer.lr?): optimizer=adamw has the"
        )

    @pytest.mark.parametrize("entry", ["evaluate", "predict"])
    def test_evaluate_and_predict(self, cli: Callable[..., object], entry: str) -> None:
        assert f"scripts/{entry}.py checkpoint=" in cli(entry, "--help").out
        assert "checkpoint=<file> is missing" in cli(entry).mistake
        assert cli(entry, "--split=val").mistake == "--split=val: type split=val (no dashes)"
        assert "unknown option --split; there are --help, --version, --cfg job" in cli(entry, "--split").mistake
        assert "tab completion is of scripts/train.py" in cli(entry, "-sc", "install=bash").mistake
        assert yaml.safe_load(cli(entry, "--cfg", "job", "output=there").out)["output"] == "there"
        assert "checkpoint=a,b: there is no such file" in cli(entry, "checkpoint=a,b").mistake
        assert "checkpoint=none.ckpt: there is no such file" in cli(entry, "checkpoint=none.ckpt").mistake

    def test_an_installed_program_has_its_own_name(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/unet-exp-check-data", "--help"])
        check_data.main()
        said = capsys.readouterr().out
        assert "Usage: unet-exp-check-data data=folder" in said
        assert "scripts/" not in said

    def test_options(self, cli: Callable[..., object]) -> None:
        assert cli("train", "--experiment=small").mistake == "--experiment=small: type experiment=small (no dashes)"
        assert "there are --help, --version, --config-dir, --multirun" in cli("train", "--hello", "3").mistake
        assert "expected one argument" in cli("train", "--config-dir").mistake
        assert "unknown option --config-name" in cli("check_data", "--config-name").mistake
        for entry in ("train", "predict", "compare"):
            assert cli(entry, "--version").out.startswith(f"unet-exp {unet_exp.__version__}\ntorch 2.")

    def test_help_names_every_word(self, cli: Callable[..., object]) -> None:
        text = cli("train", "--help").out
        for group, options in OPTIONS.items():
            assert f"{group}: {', '.join(options)}" in text
        for word in OPTIONS["experiment"]:
            (line,) = (line for line in text.splitlines() if line.startswith(f"  experiment={word} "))
            assert len(line.split()) > 4, f"{word} is not explained"
            assert len(line) <= 120

    def test_cfg_job_is_a_config(self, cli: Callable[..., object], tmp_path: Path) -> None:
        said = cli("train", "--cfg", "job", "--resolve", "experiment=small", "fusion=add")
        values = yaml.safe_load(said.out)
        assert {"sweep", "search"} <= values.keys()
        assert (
            parse({key: value for key, value in values.items() if key not in ("sweep", "search")}).fusion.name == "add"
        )
        assert "depth: 4" in cli("train", "experiment=small", "--cfg", "job", "seed=1", "-p", "model").out
        # What the training takes: nothing is left to be replaced, and null is a value.
        weights = yaml.safe_load(cli("train", "--cfg", "job", "experiment=small", "-p", "loss.class_weights").out)
        assert weights == [2.5, 1.0]
        assert "${" not in cli("train", "--cfg", "job").out
        assert cli("train", "--cfg", "job", "-p", "trainer.early_stopping", "~trainer.early_stopping").out == "null\n"
        assert list(tmp_path.iterdir()) == []


def test_words_mistakes_and_help_need_no_torch(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    over = RunFolder(tmp_path_factory.mktemp("over"))
    over.write_config(parse(defaults()).model_dump())
    Summary(status="finished").write(over.summary)
    script = """
import sys
from importlib import import_module
from unet_exp.compose import compose_train
from unet_exp.config import parse
import unet_exp

parse(compose_train(["experiment=small", "model=valid"]))
codes = []
for entry, *words in [
    ("train", "--help"), ("train", "--cfg", "job"), ("train", "model=vlaid"), ("train", "model.depth=0"),
    ("train", "-m", "seed=0,1", "model=release", "fusion=add"), ("evaluate", "--help"), ("predict", "--help"),
    ("evaluate",), ("predict", "--nonsense"),
    ("train", "data=isbi2012", "data.root=nowhere"), ("train", "experiment=own", "data.images=a", "data.masks=b"),
    ("train", f"resume={over}", "trainer.max_steps=3000"),
]:
    sys.argv = [f"{entry}.py", *words]
    try:
        import_module(f"unet_exp.cli.{entry}").main()
        codes.append(0)
    except SystemExit as exit_:
        codes.append(exit_.code)
print([codes, sorted({"torch", "pytorch_lightning", "wandb", "matplotlib"} & sys.modules.keys())])
"""
    command = [sys.executable, "-c", f"over = {str(over.path)!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == [[0, 0, 2, 2, 2, 0, 0, 2, 2, 2, 2, 2], []]
    said = done.stderr.splitlines()
    assert said[-3].startswith("error: data.root=nowhere: there are no data; ")
    assert said[-2].startswith("error: data.images=a: there is no such file or folder")
    assert said[-1] == (
        f"error: resume={over.path}: this run is over; to train further, start a new one from its weights: type "
        f"init_from={over.path} beside the words of this one (summary.json: overrides)"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_a_reader_of_the_help_may_close_it(entry: str) -> None:
    script = f"from unet_exp.cli.{entry} import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-c", script, "--help"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_extra_is_installed_from_the_checkout_or_by_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hint_extra("onnx") == "pip install -e '.[onnx]'"
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "unet_exp" / "extras.py"))
    needed = ["torch>=2", "onnx>=1.23; extra == 'onnx'", "h5py>=3; extra == 'hdf5'", "onnxruntime; extra == 'onnx'"]
    monkeypatch.setattr(extras.metadata, "requires", lambda _: needed)
    assert hint_extra("onnx") == "pip install 'onnx>=1.23' 'onnxruntime'"


def test_overrides_are_read_as_hydra_reads_them() -> None:
    (override,) = parse_overrides(["loss.class_weights=[2.5,1]"])
    assert (override.key_or_group, override.value()) == ("loss.class_weights", [2.5, 1])
    (override,) = parse_overrides(["seed=0,1"], sweeps=True)
    assert override.is_sweep_override()


class TestSharedKeys:
    """Options build on one another, so that a default stands once in `conf/`."""

    def test_no_option_repeats_a_default_of_what_it_builds_on(self) -> None:
        def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
            own, below = yaml.safe_load(path.read_text()) or {}, {}
            for base in own.pop("defaults", []):
                if isinstance(base, str) and base != "_self_":
                    before, here = read(path.parent / f"{base}.yaml")
                    below |= before | here
            return below, own

        for path in conf_dir().glob("*/*.yaml"):
            below, own = read(path)
            assert not [key for key, value in own.items() if key in below and below[key] == value], path

    def test_shared_files_are_no_options(self, cli: Callable[..., Any]) -> None:
        shared = sorted(conf_dir().glob("*/_*.yaml"))
        assert [path.parent.name for path in shared] == ["augmentation", "data", "experiment", "loss"]
        said = cli("train", "--help").out
        for path in shared:
            assert path.stem not in said
            with pytest.raises(ConfigError, match=f"{path.parent.name}={path.stem}: no such option; choose one of"):
                compose_train([f"{path.parent.name}={path.stem}"], str(conf_dir()))

    def test_a_changed_file_is_read_again(self, tmp_path: Path) -> None:
        mine = tmp_path / "data" / "mine.yaml"
        mine.parent.mkdir()
        for tile in (96, 128):
            mine.write_text(f"defaults: [folder, _self_]\nname: folder\ntile: {tile}\nval: 0.{tile}\n")
            values = compose_train(["data=mine"], str(tmp_path))["data"]
            assert (values["tile"], values["batch_size"], values["images"]) == (tile, 4, "data/images")

    def test_what_is_composed_can_be_changed(self) -> None:
        """A file is parsed once, and no two configs share a part of it."""
        compose_train([])["optimizer"]["betas"].append(7)
        assert compose_train([])["optimizer"]["betas"] == [0.9, 0.999]

    def test_what_commands_and_configs_share(self) -> None:
        assert compose_train([])["output"] == OUTPUTS


class TestVariablesOfWandb:
    """They stand where no key is typed, and the config says so."""

    VARIABLES: ClassVar = {
        "WANDB_PROJECT": "skips",
        "WANDB_ENTITY": "us",
        "WANDB_RUN_GROUP": "first",
        "WANDB_TAGS": "a, b",
    }

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], ("skips", "us", "first", ["a", "b"])),
            (["logger.project=typed", "logger.tags=[c]"], ("typed", "us", "first", ["c"])),
            (["logger.entity=null", "logger.group=null"], ("skips", None, None, ["a", "b"])),
        ],
    )
    def test_they_hold_where_no_key_is_typed(
        self, words: list[str], expected: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable, value in self.VARIABLES.items():
            monkeypatch.setenv(variable, value)
        logger = compose_train(words)["logger"]
        assert (logger["project"], logger["entity"], logger["group"], logger["tags"]) == expected

    def test_without_them(self) -> None:
        logger = compose_train([])["logger"]
        assert (logger["project"], logger["entity"], logger["group"], logger["tags"]) == ("unet-exp", None, None, [])

    def test_a_run_that_goes_on_keeps_its_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also from a shell without them."""
        with monkeypatch.context() as first:
            first.setenv("WANDB_PROJECT", "skips")
            first.setenv("WANDB_TAGS", "a")
            began = compose_train([])
        folder = RunFolder(tmp_path)
        folder.write_config(began)
        now = parse(compose_train([]))
        assert keep_places(now, folder).logger == parse(began).logger
        typed = parse(compose_train(["logger.project=typed"]))
        assert keep_places(typed, folder, ["logger.project=typed"]).logger.model_dump()["project"] == "typed"
        assert keep_places(parse(compose_train(["logger=csv"])), folder).logger.name == "csv"
        assert keep_places(now, folder, ["~logger.tags"]).logger.model_dump()["tags"] == []
