"""Composes the words of a command line to plain values with Hydra, and reports its errors in one line.

Nothing here imports torch, so that a mistake is reported at once.
"""

import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unet_exp import config_files, resolvers
from unet_exp.config_files import ConfigFile, ConfigFiles
from unet_exp.errors import ConfigError
from unet_exp.files import conf_dir
from unet_exp.keys import flat, rename_override
from unet_exp.known_keys import explain_key, has_key, list_keys
from unet_exp.options import (
    Options,
    check_word,
    explain_unread,
    initialize_hydra,
    is_for_hydra,
    quote,
    refuse_several,
    search_path,
)
from unet_exp.recipes import leave_out_foreign
from unet_exp.required_keys import must_have_value
from unet_exp.text_keys import is_misread
from unet_exp.typed import PATHS

if TYPE_CHECKING:
    from unet_exp.config import Config
    from unet_exp.config.multirun import OptunaConfig, SweepConfig

GROUPS = ("model", "fusion", "loss", "augmentation", "data", "optimizer", "scheduler", "trainer", "inference", "logger")
"""Choices that a checkpoint's config holds as values."""

_SEVERAL = {"checkpoint": list, "runs": list, "input": list, "data.images": list, "data.masks": dict}
"""What may hold several paths, each with the quotes that Hydra needs."""


resolvers.register()


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
        origins: where the values are from.
    """

    training: dict[str, Any]
    sweep: dict[str, Any]
    search: dict[str, Any]
    multirun: bool
    params: dict[str, str]
    launcher: dict[str, Any]
    origins: "_Origins"

    def parse(self) -> "Config":
        """Checks the training against the schema.

        Raises:
            ConfigError: as `unet_exp.config.parse`, with the file in which the mistake stands.
        """
        from unet_exp.config import parse  # only now: help and a wrong word need no schema

        with self._name_file():
            return parse(self.training)

    def parse_sweep(self) -> "tuple[SweepConfig, OptunaConfig | None]":
        """Checks the settings of a sweep and of a search; None for `search=none`.

        Raises:
            ConfigError: as `parse`.
        """
        from unet_exp.config.multirun import parse_search, parse_sweep

        with self._name_file():
            return parse_sweep(self.sweep), parse_search(self.search)

    @contextmanager
    def _name_file(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            raise self.origins.explain(error) from None


@dataclass(frozen=True)
class _Origins:
    """Where the values of a config are from: its files, and all values before `${...}` is replaced."""

    files: Sequence[ConfigFile]
    config: DictConfig

    def explain(self, error: ConfigError) -> ConfigError:
        """The error with the path of the file that sets the wrong key, if one does, and with what to do."""
        key, message = error.key, str(error)
        values = flat(OmegaConf.to_container(self.config))  # type: ignore[arg-type]
        file = config_files.find_setter(self.files, values, key) if key else None
        unknown, missing = message.startswith("unknown key"), message.endswith("is missing")
        if key is None or file is None:  # a key that is added with a plus is in no file
            return ConfigError(explain_key(self.config, key), key) if key and unknown and "[" not in key else error
        if missing and not file.package:
            message += "; take out '# @package _global_', which puts its keys at the top"
        elif missing:
            bases = ", ".join(Options().words(file.group))
            message += f"; its defaults can begin with an option that has it: 'defaults: [..., _self_]', one of {bases}"
        elif unknown and "." in key and key in file.values:
            message += "; in a file, keys are nested: 'model: {depth: 4}', not 'model.depth: 4'"
        elif unknown:
            message = explain_key(self.config, key, values.get(key, ""))
        elif OmegaConf.select(self.config, key, throw_on_resolution_failure=False) == "":  # to be typed
            return error
        return ConfigError(f"{file.path}: {message}", key)


def prepare_words(words: Sequence[str]) -> list[str]:
    """Quotes paths that Hydra's grammar does not accept, and replaces renamed keys with a note on standard error.

    Hydra rejects a path with an equals sign or a bracket. Quoted values, `null` and, after `-m`, several paths with
    commas stay as they are; several weights always, which experiments sweep over without `-m`.
    """
    renamed = [rename_override(word) for word in words]
    for note in filter(None, (note for _, note in renamed)):
        print(f"note: {note}", file=sys.stderr)
    sweep = bool({"-m", "--multirun"} & set(words))
    parser = OverridesParser.create()

    def quote_path(word: str) -> str:
        key, _, value = word.partition("=")
        several = "," in value and (sweep or key == "model.weights")
        if key not in PATHS or value in ("", "null") or value[0] in "'\"" or several:
            return word
        with suppress(HydraException):
            parsed = parser.parse_override(word).value()
            if parsed == value or isinstance(parsed, _SEVERAL.get(key, ())):
                return word
        return f"{key}={quote(value)}"

    return [quote_path(word) for word, _ in renamed]


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
    values, hydra_config, origins = _compose("train", overrides, extra_dir)
    sweep, search = values.pop("sweep"), values.pop("search")
    params: Any = OmegaConf.to_container(hydra_config.sweeper.get("params") or OmegaConf.create({}))
    launcher: Any = OmegaConf.to_container(hydra_config.launcher)
    multirun = hydra_config.mode is not None and hydra_config.mode.name == "MULTIRUN"
    return Composed(
        values,
        sweep,
        search,
        multirun,
        {str(key): str(value) for key, value in params.items()},
        {str(key): value for key, value in launcher.items()},
        origins,
    )


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
        f"{group}={_format_word(values['name'])}"
        for group, values in base.items()
        if isinstance(values, dict) and "name" in values
    }
    overrides = [word for word in overrides if word not in had]
    typed = {override.key_or_group: override for override in parse_overrides(overrides)}
    replaced = [group for group in GROUPS if group in typed]
    kept = {key: value for key, value in base.items() if key not in replaced}
    defaults = [*({group: typed[group].value()} for group in replaced), "_self_"]
    ConfigStore.instance().store(name="over_checkpoint", node={"defaults": defaults, **kept, **entry})
    return _compose("over_checkpoint", overrides)[0]


def _format_word(name: Any) -> str:
    """The word of a group, or the words, as typed."""
    return f"[{','.join(map(str, name))}]" if isinstance(name, list) else str(name)


def _compose(
    name: str, overrides: Sequence[str], extra_dir: str | None = None
) -> tuple[dict[str, Any], DictConfig, _Origins]:
    """The resolved values, the config of Hydra itself, and where the values are from."""
    folders = search_path(extra_dir)
    parsed, options = parse_overrides(overrides), Options(extra_dir, takes_dir=name == "train")
    for override in parsed:
        check_word(override, options)
    choices = [override.input_line or "" for override in parsed if options.chooses(override)]
    whole, chosen, files = _compose_choices(name, (*choices, *folders), extra_dir)
    of_hydra, config = whole, deepcopy(chosen)
    _name_loggers(config, files)
    words = {override.key_or_group: override.value() for override in parsed if options.chooses(override)}
    leave_out_foreign(config, files, words, options)
    for override in parsed:
        if is_for_hydra(override) and not options.chooses(override):
            of_hydra = deepcopy(of_hydra)
            _set_key(of_hydra, override)
        elif not options.chooses(override):
            _set_key(config, override)
    keys = {override.key_or_group for override in parsed}
    if "data.root" in keys and "data.download" not in keys and has_key(config.data, "download"):
        config.data.download = False  # a slip in a path must not fetch gigabytes
    origins = _Origins(files, config)
    try:
        _check_groups(origins)
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise origins.explain(ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}", error.full_key)) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}, of_hydra.hydra, origins


def _name_loggers(config: DictConfig, files: Sequence[ConfigFile]) -> None:
    """Names all of several loggers: Hydra puts the keys of their files together, and keeps the name in the last."""
    # Hydra opens the files of a list from its end.
    ours = [file.values for file in reversed(files) if file.group == "logger" and "name" in file.values]
    names = list(dict.fromkeys(values["name"] for values in ours))
    if len(names) > 1:
        config.logger.name = names


def _check_groups(origins: _Origins) -> None:
    """Finds a group that a file makes no option of, before other keys refer to its name.

    Raises:
        ConfigError: with the file.
    """
    for group in GROUPS:
        node = OmegaConf.select(origins.config, group)
        if node is not None and not isinstance(node, DictConfig):
            raise origins.explain(ConfigError(f"{group}={node!r}: it must hold keys with their values", group))
        if group != "trainer" and (node is None or OmegaConf.select(node, "name") is None):
            raise origins.explain(ConfigError(f"the key {group}.name is missing", f"{group}.name"))


def _set_key(config: DictConfig, override: Override) -> None:
    """Sets, adds or deletes one key as Hydra does after it has put all options together.

    Raises:
        ConfigError: for a key that does not exist, or is added and does, and for a value that it cannot have.
    """
    key, line, value = override.key_or_group, override.input_line, override.value()
    adds = override.is_add() or override.is_force_add()
    parent, _, last = key.rpartition(".")
    try:
        node = OmegaConf.select(config, parent) if parent else config
        now = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        if not adds and not isinstance(node, ListConfig) and not has_key(node, last):
            raise ConfigError(explain_key(config, key, value), key)
        if override.is_delete() and must_have_value(key):
            raise ConfigError(f"{line}: a key is not taken away, and null is no value of it; leave it out", key)
        if override.is_add() and now is not None and not isinstance(value, dict | list):
            raise ConfigError(f"{line}: {key} is there already; type it without +", key)
        if not parent and isinstance(now, DictConfig) and not isinstance(value, dict):
            raise ConfigError(f"{line}: {list_keys(config, key)}; type those", key)
        if override.is_delete():
            with open_dict(config):
                del node[last]
        else:
            # A list is replaced, if need be by what is none, which the schema then explains.
            OmegaConf.update(config, key, value, merge=not isinstance(now, ListConfig), force_add=adds)
    except OmegaConfBaseException as error:
        told = f"+{line} adds what it lacks" if "not in struct" in str(error) else str(error).splitlines()[0]
        raise ConfigError(f"{line}: {told}", key) from None


def _compose_choices(
    name: str, choices: tuple[str, ...], extra_dir: str | None
) -> tuple[DictConfig, DictConfig, Sequence[ConfigFile]]:
    """Hydra's composition of these words, with and without its own settings, and its files; do not change it."""
    # Other files than ours may change.
    if extra_dir is not None:
        return _compose_once.__wrapped__(name, choices, extra_dir, None)
    stored = "" if name == "train" else repr(ConfigStore.instance().load(f"{name}.yaml").node)
    return _compose_once(name, choices, None, (ConfigFiles("main", str(conf_dir())).state(), stored))


@lru_cache(maxsize=256)
def _compose_once(
    name: str, choices: tuple[str, ...], extra_dir: str | None, _: Hashable
) -> tuple[DictConfig, DictConfig, Sequence[ConfigFile]]:
    with config_files.record_files() as files:
        try:
            with initialize_hydra():
                whole = hydra.compose(name, list(choices), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, RecursionError) as error:
            options = Options(extra_dir)
            mistakes = ((file.path, file.find_mistake(options.groups, options.explain)) for file in files)
            found = next((f"{path}: {mistake}" for path, mistake in mistakes if mistake), None)
            raise ConfigError(found or config_files.explain(error, files)) from None
    ours = deepcopy(whole)
    with open_dict(ours):
        del ours["hydra"]
    return whole, ours, files


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
        override = _parse_word(text)
        if override is None or not override.key_or_group:
            raise ConfigError(explain_unread(text))
        if override.is_sweep_override() and not sweeps:
            raise refuse_several(override, "several values are a sweep, of scripts/train.py -m")
        if override.is_delete():
            override = _set_to_null(override, parser)
        elif is_misread(override):
            key, _, value = text.partition("=")
            override = parser.parse_override(f"{key}={quote(value)}")
        parsed.append(override)
    return parsed


@lru_cache(maxsize=1024)  # the runs of a sweep have most of their words in common
def _parse_word(text: str) -> Override | None:
    """An override by Hydra's grammar, not to be changed; None for other text."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _set_to_null(override: Override, parser: OverridesParser) -> Override:
    """`~trainer.early_stopping` as `trainer.early_stopping=null`: a config has all of its keys.

    What stands deeper, `~loss.params.gamma`, is a part of a value, and is really deleted. An option stays, and so does
    what must have a value, for `_set_key` to refuse it.

    Raises:
        ConfigError: for a deletion with a value.
    """
    key = override.key_or_group
    if key in Options().groups:
        return override
    if override.value() is not None:
        raise ConfigError(f"{override.input_line}: type ~{key} alone, which sets it to null")
    stays = key.count(".") > 1 or must_have_value(key)
    return override if stays else parser.parse_override(f"{key}=null")
