"""What `search=optuna` can search: the space in words, what is typed over it, and what the W&B sweep file says."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY
from searching import opener, optuna_config

from unet_exp.cli.command import read_command
from unet_exp.compose import compose_command, compose_train, parse_overrides
from unet_exp.config import Config, parse
from unet_exp.config.multirun import parse_search
from unet_exp.errors import ConfigError
from unet_exp.files import conf_dir
from unet_exp.metrics.declarations import direction
from unet_exp.sweeps.space import add_typed, check_space, describe_space, space_entry


class TestWords:
    def test_the_word_makes_a_sweep_of_its_own_accord(self) -> None:
        composed = compose_command(["search=optuna"])
        assert composed.multirun
        config = parse_search(composed.search)
        assert config is not None
        assert set(config.space) == {"optimizer.lr", "model.dropout"}
        assert not compose_command([]).multirun
        assert parse_search(compose_command([]).search) is None

    @pytest.mark.parametrize(
        ("words", "space"),
        [
            (["search.space.optimizer.lr.high=0.1", "search.space.model=null"], {"optimizer.lr": (0.0001, 0.1)}),
            (["search.space.optimizer=null", "+search.space.model.width=[8,16]"], {"model.width": [8, 16]}),
        ],
    )
    def test_the_space_is_changed_on_the_command_line(self, words: list[str], space: dict[str, Any]) -> None:
        config = parse_search(compose_command(["search=optuna", *words]).search)
        assert config is not None
        for key, wanted in space.items():
            entry = config.space[key]
            assert (entry if isinstance(entry, list) else (entry.low, entry.high)) == wanted
        assert "optimizer.lr" not in config.space or "optimizer.lr" in space

    def test_it_is_told_in_words(self) -> None:
        config = parse_search(compose_command(["search=optuna"]).search)
        assert config is not None
        assert describe_space(config) == (
            "search over optimizer.lr (0.0001 to 0.01, log) and model.dropout (0 to 0.5): 20 trials"
        )
        typed = parse_overrides(["model.dropout=0.1", "model.width=range(8,33,8)", "fusion=add,none"], sweeps=True)
        assert describe_space(add_typed(config, typed)) == (
            "search over optimizer.lr (0.0001 to 0.01, log), model.width (8 to 32, step 8) and fusion (add, none): "
            "20 trials"
        )

    def test_dots_and_nesting_are_the_same_key(self) -> None:
        nested = {"optimizer": {"lr": {"low": 0.1, "high": 0.2}}, "fusion": ["add", "none"]}
        dotted = {"optimizer.lr": {"low": 0.1, "high": 0.2}, "fusion": ["add", "none"]}
        assert optuna_config(space=nested) == optuna_config(space=dotted)
        both = {"optimizer": ["adam", "sgd"], "optimizer.lr": {"low": 0.1, "high": 0.2}}
        assert set(optuna_config(space=both).space) == {"optimizer", "optimizer.lr"}

    @pytest.mark.parametrize(
        ("entry", "part"),
        [
            ({"low": 2, "high": 2}, "low=2 should be less than high=2"),
            ({"low": 0.0, "high": 1.0, "log": True}, "low=0.0 should be above 0"),
            ({"low": "1e-4", "high": 1.0}, "low='1e-4' should be a number"),
            ({"low": 1.0}, "high=None should be a number"),
            ({"low": 1.0, "high": math.inf}, "high=inf should be a number"),
            ({"low": 1, "high": 9, "step": 9}, "step=9 should be"),
            ({"low": 1, "high": 9, "step": 2, "log": True}, "log and step do not go together"),
            ({"low": 1, "high": 9, "stride": 2}, "unknown key stride"),
            ([], "leaves nothing to choose"),
            (["add"], "leaves nothing to choose"),
            (["add", "none", "add"], "has a value twice"),
            ("add", "'add' is neither a list"),
        ],
    )
    def test_a_mistake_in_the_space_names_its_key(self, entry: Any, part: str) -> None:
        with pytest.raises(ConfigError, match=r"search\.space\.some\.key: ") as caught:
            optuna_config(space={"some": {"key": entry}})
        assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "start"),
        [
            ({"trials": 0}, "search.trials=0"),
            ({"sampler": "grid"}, "search.sampler='grid'"),
            ({"space": ["lr"]}, "search.space"),
        ],
    )
    def test_other_mistakes(self, changes: dict[str, Any], start: str) -> None:
        with pytest.raises(ConfigError) as caught:
            optuna_config(**changes)
        assert str(caught.value).startswith(start)


class TestTyped:
    @pytest.mark.parametrize(
        ("text", "entry"),
        [
            ("fusion=concat,add", ["concat", "add"]),
            ("fusion=choice(concat,add)", ["concat", "add"]),
            ("trainer.ema_decay=null,0.99", [None, 0.99]),
            ("model.relu_after_upsample=true,false", [True, False]),
            ("loss.class_weights=[1.0,2.0],inverse", [[1.0, 2.0], "inverse"]),
            ("trainer.max_time='4m','1h'", ["4m", "1h"]),
            ("optimizer.lr=interval(1e-4,1e-2)", {"low": 1e-4, "high": 1e-2, "log": False}),
            ("optimizer.lr=tag(log, interval(1e-4,1e-2))", {"low": 1e-4, "high": 1e-2, "log": True}),
            ("model.width=int(interval(4,9))", {"low": 4, "high": 9, "log": False}),
            ("model.width=range(8,33,8)", {"low": 8, "high": 32, "log": False, "step": 8}),
            ("model.width=range(32,0,-8)", {"low": 8, "high": 32, "log": False, "step": 8}),
            ("model.width=tag(log, range(1,65))", {"low": 1, "high": 64, "log": True, "step": None}),
            ("model.dropout=range(0.0,0.35,0.1)", {"low": 0.0, "high": 0.3, "log": False, "step": 0.1}),
        ],
    )
    def test_a_sweep_becomes_an_entry(self, text: str, entry: Any) -> None:
        (override,) = parse_overrides([text], sweeps=True)
        assert space_entry(override) == entry
        assert override.key_or_group in add_typed(optuna_config(), [override]).space

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("fusion=glob(*)", "takes no glob"),
            ("optimizer.lr=tag(even, interval(1e-4,1e-2))", "the only tag is log"),
            ("fusion=tag(log, choice(add,none))", "the only tag is log"),
            ("model.width=range(8,9)", "leaves nothing to choose"),
            ("model.width=tag(log, range(1,9,2))", "log and step"),
            ("optimizer.lr=interval(1,1)", "should be less than"),
        ],
    )
    def test_what_has_no_meaning_in_a_search(self, text: str, part: str) -> None:
        with pytest.raises(ConfigError, match=r".+") as caught:
            add_typed(optuna_config(), parse_overrides([text], sweeps=True))
        assert part in str(caught.value)
        assert text.partition("=")[0] in str(caught.value)

    def test_several_values_join_and_one_value_leaves(self) -> None:
        typed = parse_overrides(["x=1", "n=2,4", "fusion=add,none", "model=same"], sweeps=True)
        space = add_typed(optuna_config(), typed).space
        assert space == {"n": [2, 4], "c": ["a", "b"], "fusion": ["add", "none"]}


def composed(*words: str) -> Callable[[list[str]], Config]:
    return lambda more: parse(compose_train([*words, *more]))


class TestCheck:
    def test_the_shipped_space_goes_with_any_optimizer(self) -> None:
        config = parse_search(compose_command(["search=optuna"]).search)
        assert config is not None
        for name in ("adam", "sgd"):
            check_space(config, composed(f"optimizer={name}"))

    def test_groups_are_searched_by_their_words(self) -> None:
        space = {"fusion": ["concat", "add"], "loss": ["cross_entropy", "bce"], "data.batch_size": [1, 2]}
        check_space(optuna_config(space=space), composed())

    def test_how_patches_are_drawn_is_searched(self) -> None:
        space = {"data.sampling": ["area", "image"], "data.foreground_share": {"low": 0.0, "high": 1.0}}
        check_space(optuna_config(space=space), composed())

    @pytest.mark.parametrize(
        ("space", "part"),
        [
            ({}, "nothing to search"),
            ({"optimizer.rate": [0.1, 0.2]}, "unknown key optimizer.rate"),
            ({"fusion": ["add", "concatenate"]}, "fusion=concatenate: no such option"),
            ({"optimizer": ["sgd", "adam"], "optimizer.momentum": [0.9, 0.99]}, "unknown key optimizer.momentum"),
            ({"model.dropout": {"low": 0, "high": 1}}, "write 0.0 and 1.0"),
            ({"model.width": {"low": 4.0, "high": 8.0}}, "model.width"),
            ({"model.dropout": {"low": 0.0, "high": 1.5}}, "model.dropout=1.5"),
            ({"seed": [0, 1]}, "search.space.seed: it changes seed"),
            ({"data.seed": [0, 1]}, "it changes data.seed"),
            ({"data.organelles": [True, False]}, "it changes data.organelles"),
            ({"data.fold": [0, 1], "data.folds": [3, 4]}, "it changes data.fold"),
            ({"trainer.monitor": ["val/loss", "val/accuracy"]}, "it changes trainer.monitor"),
            ({"trainer.val_every_epochs": [1, 2]}, "it changes trainer.val_every_epochs"),
            ({"experiment": ["small", "paper_isbi2012_small"]}, "search.space.experiment: it changes data"),
        ],
    )
    def test_mistakes_are_found_before_the_first_trial(self, space: dict[str, Any], part: str) -> None:
        with pytest.raises(ConfigError, match=r".+") as caught:
            check_space(optuna_config(space=space), composed())
        assert part in str(caught.value)

    def test_losses_are_comparable_unless_the_loss_is_the_score(self) -> None:
        config = optuna_config(space={"loss": ["cross_entropy", "bce"]})
        check_space(config, composed())
        with pytest.raises(ConfigError, match=r"search\.space\.loss: it changes loss"):
            check_space(config, composed("trainer.monitor=val/loss"))

    def test_optuna_is_an_extra(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ConfigError, match=r"pip install -e '\.\[sweep\]'"):
            read_command(["search=optuna", *TINY])
        with pytest.raises(ConfigError, match=r"pip install -e '\.\[sweep\]'"):
            opener(tmp_path)()

    def test_importing_it_is_quick(self) -> None:
        heavy = "{'torch', 'optuna', 'numpy', 'matplotlib', 'pytorch_lightning'}"
        code = (
            f"import sys, unet_exp.sweeps.run_search; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_wandb_sweep_file() -> None:
    """Expanded as W&B's agent does (`wandb.wandb_agent.Agent._command_run`), at the ends of every parameter."""
    # Here, since it takes two seconds.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    path = conf_dir().parent / "scripts" / "wandb_sweep.yaml"
    sweep = yaml.safe_load(path.read_text())
    ends = {
        key: values if (values := parameter.get("values")) else [parameter["min"], parameter["max"]]
        for key, parameter in sweep["parameters"].items()
    }
    assert sweep["program"] == "scripts/train.py"
    assert (path.parents[1] / sweep["program"]).is_file()
    first = {key: values[0] for key, values in ends.items()}
    for chosen in [first, *({**first, key: value} for key, values in ends.items() for value in values[1:])]:
        variables = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
        variables |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
        words: list[str] = []
        for chunk in create_sweep_command(list(sweep["command"])):
            macro = chunk.startswith("${") and chunk.endswith("}")
            words += variables[chunk[2:-1]] if macro else [chunk]
        assert words[:3] == ["/usr/bin/env", "python", sweep["program"]]
        assert sorted(words[-len(chosen) :]) == sorted(f"{key}={value}" for key, value in chosen.items())
        config = parse(compose_train(words[3:]))
        assert config.optimizer.lr == chosen["optimizer.lr"]
        assert config.fusion.name == chosen["fusion"]
        assert config.logger.name == "wandb"
        assert sweep["metric"] == {"name": config.trainer.monitor, "goal": f"{direction(config.trainer.monitor)}imize"}
