"""Composes the words of a command line to plain values with Hydra, and reports its errors in one line.

Nothing here imports torch, so that a mistake is reported at once.
"""

import difflib
import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from unet_exp import config_files
from unet_exp.config.renamed import rename_override
from unet_exp.errors import ConfigError

GROUPS = ("model", "fusion", "loss", "augmentation", "data", "optimizer", "scheduler", "trainer", "inference", "logger")
"""Choices that a checkpoint's config holds as values."""


PATHS = (
    *("checkpoint", "input", "output", "init_from", "resume", "rerun", "sweep.resume", "runs", "baseline"),
    *("data.root", "data.images", "data.masks", "data.field_of_view", "data.lists", "data.group"),
)
"""Keys whose values are paths, labels with an equals sign in them, or regular expressions."""


@dataclass(frozen=True)
class Composed:
    """The meaning of the words of a command line.

    Attributes:
        training: plain values of one training, not yet checked against the schema.
        sweep: values of the group `sweep`.
        search: values of the group `search`.
        multirun: whether the words alone make it a sweep, as `experiment=skip_fusion` does.
        params: keys that the words sweep over, with their values as typed.
        launcher: Hydra's settings of what starts the runs of a sweep.
    """

    training: dict[str, Any]
    sweep: dict[str, Any]
    search: dict[str, Any]
    multirun: bool
    params: dict[str, str]
    launcher: dict[str, Any]


def prepare_words(words: Sequence[str]) -> list[str]:
    """Quotes paths that Hydra's grammar does not accept, and replaces renamed keys with a note on standard error.

    Hydra rejects a path with an equals sign or a bracket. Quoted values, `null` and, after `-m`, several paths with
    commas stay as they are.
    """
    renamed = [rename_override(word) for word in words]
    for note in filter(None, (note for _, note in renamed)):
        print(f"note: {note}", file=sys.stderr)
    sweep = bool({"-m", "--multirun"} & set(words))
    parser = OverridesParser.create()

    def quote_path(word: str) -> str:
        key, _, value = word.partition("=")
        if key not in PATHS or value in ("", "null") or value[0] in "'\"" or (sweep and "," in value):
            return word
        with suppress(HydraException):
            parsed = parser.parse_override(word).value()
            if parsed == value or (key == "runs" and isinstance(parsed, list)):
                return word
        return f"{key}={quote(value)}"

    return [quote_path(word) for word, _ in renamed]


def quote(text: str) -> str:
    """Quotes any text for Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def conf_dir() -> Path:
    """The folder of configs: at the top of a checkout, inside the package in an installed wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose_train(overrides: Sequence[str], extra_dir: str | None = None) -> dict[str, Any]:
    """The plain values of one training; see `compose_command`."""
    return compose_command(overrides, extra_dir).training


def compose_command(overrides: Sequence[str], extra_dir: str | None = None) -> Composed:
    """Composes the words of `scripts/train.py`.

    Args:
        overrides: words and keys as typed, such as `["model=same", "optimizer.lr=0.01"]`.
        extra_dir: a folder of the user's own configs, searched after `conf/`.

    Returns:
        Resolved values in plain containers.

    Raises:
        ConfigError: for a word that is no option, a key that does not exist, or text that cannot be read.
    """
    values, hydra_config = _compose("train", [*overrides, *search_path(extra_dir)])
    sweep, search = values.pop("sweep"), values.pop("search")
    params = OmegaConf.to_container(hydra_config.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(params, dict)
    multirun = hydra_config.mode is not None and hydra_config.mode.name == "MULTIRUN"
    launcher = OmegaConf.to_container(hydra_config.launcher)
    assert isinstance(launcher, dict)
    return Composed(
        values,
        sweep,
        search,
        multirun,
        {str(key): str(value) for key, value in params.items()},
        {str(key): value for key, value in launcher.items()},
    )


def search_path(extra_dir: str | None) -> list[str]:
    """The override that adds a folder of the user's own configs to Hydra's search path.

    Raises:
        ConfigError: if the folder does not exist.
    """
    if extra_dir is None:
        return []
    if not Path(extra_dir).is_dir():
        raise ConfigError(f"--config-dir {extra_dir}: there is no such folder")
    return [f"hydra.searchpath=[{quote(f'file://{Path(extra_dir).resolve()}')}]"]


def compose_over(base: dict[str, Any], entry: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The config of a checkpoint with typed words over it.

    Another word for a group (`data=isbi2012` over a `synthetic` training) replaces the whole group by its values in
    `conf/`; the same word changes nothing.

    Args:
        base: the plain config of a training.
        entry: the command's own keys and their default values.
        overrides: words and keys as typed.

    Raises:
        ConfigError: as `compose_train`.
    """
    had = {
        f"{group}={values['name']}" for group, values in base.items() if isinstance(values, dict) and "name" in values
    }
    overrides = [word for word in overrides if word not in had]
    typed = {override.key_or_group: override for override in parse_overrides(overrides)}
    replaced = [group for group in GROUPS if group in typed]
    kept = {key: value for key, value in base.items() if key not in replaced}
    defaults = [*({group: typed[group].value()} for group in replaced), "_self_"]
    ConfigStore.instance().store(name="over_checkpoint", node={"defaults": defaults, **kept, **entry})
    return _compose("over_checkpoint", overrides)[0]


def _compose(name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], DictConfig]:
    """The resolved values, and the config of Hydra itself."""
    parsed = parse_overrides(overrides)
    _check_words(parsed)
    keys, choices = _divide(parsed)
    try:
        whole, chosen = _compose_choices(name, choices)
        config = deepcopy(chosen)
        for override in keys:
            _set_key(config, override)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, parsed, name)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"a config file is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}, whole.hydra


def _set_key(config: DictConfig, override: Override) -> None:
    """Sets one key as Hydra does after it has put all options together, and with its words where that fails."""
    key = override.key_or_group
    try:
        OmegaConf.update(config, key, override.value(), merge=True)
    except (ConfigAttributeError, ConfigKeyError) as error:
        message = f"Could not override '{key}'. To append to your config use +{override.input_line}"
        raise HydraException(message) from error
    except OmegaConfBaseException as error:
        raise HydraException(f"Error merging override {override.input_line}") from error


def _divide(parsed: Sequence[Override]) -> tuple[list[Override], tuple[str, ...]]:
    """Values of single keys, and the words that choose options or add keys."""
    groups = _files().list("", ObjectType.GROUP)

    def is_value(override: Override) -> bool:
        key = override.key_or_group
        return override.package is None and key not in groups and not key.startswith("hydra")

    changes = all(override.type == OverrideType.CHANGE for override in parsed)
    keys = [override for override in parsed if changes and is_value(override)]
    return keys, tuple(override.input_line or "" for override in parsed if override not in keys)


def _compose_choices(name: str, choices: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    """Hydra's composition of these words, with and without its own settings; do not change it."""
    # Other files than ours may change.
    if any(word.startswith("hydra.searchpath") for word in choices):
        return _compose_once.__wrapped__(name, choices, None)
    stored = "" if name == "train" else repr(ConfigStore.instance().load(f"{name}.yaml").node)
    return _compose_once(name, choices, (_files().state(), stored))


@lru_cache(maxsize=64)
def _compose_once(name: str, choices: tuple[str, ...], _: Hashable) -> tuple[DictConfig, DictConfig]:
    with initialize_hydra():
        whole = hydra.compose(name, list(choices), return_hydra_config=True)
    ours = deepcopy(whole)
    with open_dict(ours):
        del ours["hydra"]
    return whole, ours


def _files() -> config_files.ConfigFiles:
    # Not Hydra's loader, which copies all of its settings at each call: a tenth of the time of composing.
    return config_files.ConfigFiles("main", str(conf_dir()))


@contextmanager
def initialize_hydra() -> Iterator[ConfigLoader]:
    """Starts Hydra with `conf/` as its folder of configs."""
    config_files.register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def parse_overrides(overrides: Sequence[str], sweeps: bool = False) -> list[Override]:
    """Parses typed words by Hydra's grammar.

    Args:
        overrides: words and keys as typed.
        sweeps: whether a key may have several values, as in `model=valid,same`.

    Raises:
        ConfigError: for text that is no override.
    """
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            override = None
        if override is None or not override.key_or_group:
            raise ConfigError(
                f"cannot read {text!r}: overrides look like model=same or optimizer.lr=0.01 "
                "(quote values that hold spaces, commas or brackets)"
            )
        if override.is_sweep_override() and not sweeps:
            raise ConfigError(
                f"{text}: one value is needed here; several are a sweep (scripts/train.py -m), "
                "a list is written in brackets, and a text that holds a comma in quotes"
            )
        parsed.append(override)
    return parsed


def _check_words(parsed: Iterable[Override]) -> None:
    ours = _files()
    groups = [*ours.list("", ObjectType.GROUP), "hydra/launcher"]
    # Hydra knows a folder of the user's own only while it composes.
    more_options = any(override.key_or_group == "hydra.searchpath" for override in parsed)
    for override in parsed:
        group = override.key_or_group
        owner = group.removesuffix(".name")
        if owner != group and owner in groups and not override.is_delete():
            raise ConfigError(f"{override.input_line}: choose the whole option with {owner}={override.value()}")
        if group not in groups or group == "hydra" or override.is_delete():
            continue
        if isinstance(override.value(), list) and group != "experiment":
            raise ConfigError(f"{override.input_line}: one option is needed here; several are a sweep: -m {group}=a,b")
        launcher = group == "hydra/launcher"
        options = _launchers() if launcher else ours.list(group, ObjectType.CONFIG)
        value = override.value()
        words = ["null" if word is None else str(word) for word in (value if isinstance(value, list) else [value])]
        for word in words:
            shared = word.startswith(config_files.SHARED)
            if word == "null" or shared or (word not in options and not more_options):
                more = launcher and "joblib" not in options
                hint = "; more of them come with: pip install 'unet-exp[sweep]'" if more else ""
                raise ConfigError(f"{group}={word}: no such option; choose one of {_list_options(options, word)}{hint}")


def _launchers() -> list[str]:
    with initialize_hydra() as loader:
        return loader.get_group_options("hydra/launcher")


def _explain(error: Exception, parsed: Iterable[Override], name: str) -> str:
    """Turns Hydra's message, which has many lines and names no keys, into one line."""
    for override in parsed:
        key = override.key_or_group
        if key.startswith("hydra") and not key.startswith("hydra.launcher."):
            continue
        others = [other.input_line for other in parsed if "." not in other.key_or_group and other is not override]
        try:
            composed, _ = _compose_choices(name, tuple(line for line in others if line))
        except (HydraException, OmegaConfBaseException):
            continue
        parent, _, last = key.rpartition(".")
        node = OmegaConf.select(composed, parent) if parent else composed
        if not isinstance(node, DictConfig):
            return f"unknown key {key}: {_keys_of(composed, parent.split('.')[0])}"
        if last not in node and not override.is_add():
            return f"unknown key {key}: {_keys_of(composed, parent, last)}"
    return " ".join(str(error).split())


def _keys_of(config: DictConfig, parent: str, wanted: str = "") -> str:
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return f"the top-level keys are {_list_options([str(key) for key in config if key != 'hydra'], parent)}"
    keys = _list_options([str(key) for key in node if key not in ("_target_", "hydra")], wanted)
    word = node.get("name") if parent else None
    owner = f"{parent}={word}" if word else parent
    return f"{owner} has the keys {keys}" if parent else f"the top-level keys are {keys}"


def _list_options(options: Iterable[str], wanted: str) -> str:
    names = list(options)
    near = difflib.get_close_matches(wanted, names, n=1)
    return ", ".join(names) + (f" (did you mean {near[0]}?)" if near else "")
