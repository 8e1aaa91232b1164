"""Hydra's reader of `conf/` and of a folder of the user's own configs, and what can be wrong in a file of them.

Hydra has no public way to hide a file that options share, so this extends its own file source.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from unet_exp.errors import ConfigError
from unet_exp.keys import flat, rename_keys

SHARED = "_"
"""Prefix of files that hold what options share, and are no options themselves."""
RECIPES = ("experiment", "debug")
"""Groups whose options set keys of other groups; the config has no keys of their own."""
_OF_HYDRA = ("hydra.mode", "hydra.sweeper.params", "hydra.launcher")
"""What a file may set of Hydra's own settings: the program follows no other."""


@dataclass(frozen=True)
class ConfigFile:
    """A file of `conf/` or of the user's.

    Attributes:
        path: of the file.
        name: folder and word, such as `data/folder`.
        package: the key above its values, such as `data`; empty where its keys are the top-level ones.
        values: plain, with its defaults list.
    """

    path: str
    name: str
    package: str
    values: dict[str, Any]

    @cached_property
    def keys(self) -> dict[str, Any]:
        """Its values by whole keys, such as `data.tile`."""
        return flat(self.values, f"{self.package}." if self.package else "")

    @property
    def group(self) -> str:
        """Its folder, such as `data`; empty for a file beside the folders."""
        return os.path.dirname(self.name)

    def check(self) -> None:
        """Finds keys that would stand in the wrong place, or that nothing would read.

        Raises:
            ConfigError: with what to do.
        """
        if not isinstance(self.values.get("defaults", []), list):
            raise ConfigError(f"{self.path}: its defaults must be a list: begin each with '- '")
        if self.package and self.group.split("/")[0] in RECIPES:
            raise ConfigError(f"{self.path}: write '# @package _global_' in its first line, else no key in it is found")
        if self.package or not self.group or self.group.split("/")[0] == "hydra":
            return
        ours = (f"{key}." for key in self.keys if key.split(".")[0] == "hydra")
        for key in ours:
            if not key.startswith(tuple(f"{own}." for own in _OF_HYDRA)):
                raise ConfigError(
                    f"{self.path}: {key[:-1]} has no effect: of Hydra's own settings a file has {', '.join(_OF_HYDRA)}"
                )

    def find_mistake(self, groups: Sequence[str], explain_option: Callable[[str, str], str | None]) -> str | None:
        """What is wrong in its defaults list.

        Args:
            groups: of all configs.
            explain_option: the message if a group does not have a word; else None.
        """
        for entry in self.values.get("defaults", []) if self.group else ():
            key, word = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
            if not isinstance(word, str) or word == "_self_" or "@" in word:
                continue
            if not key:
                mistake = self._explain_sibling(word, explain_option)
            else:
                mistake = self._explain_choice(key, word, groups, explain_option)
            if mistake:
                return mistake
        return None

    def _explain_sibling(self, word: str, explain_option: Callable[[str, str], str | None]) -> str | None:
        """What is wrong with `- small`, which names a file of the same folder."""
        if " " in word:
            return f"'- {word}' in its defaults lacks its colon, as in '- override /model: same'"
        group, _, name = (word[1:] if word.startswith("/") else f"{self.group}/{word}").rpartition("/")
        if name.startswith(SHARED):
            return None
        if not group:
            return f"'- {word}' in its defaults names no group, as in '- override /model: same'"
        return explain_option(group, name)

    def _explain_choice(
        self, key: str, word: str, groups: Sequence[str], explain_option: Callable[[str, str], str | None]
    ) -> str | None:
        """What is wrong with `- override /model: same`, which chooses the option of a group."""
        *how, place = key.partition("@")[0].split()
        group = place.lstrip("/")
        if group == self.group:
            return f"in its defaults write '- {word}' in place of '- {key}: {word}'"
        if group in groups and ("override" not in how or not place.startswith("/")):
            return f"in its defaults write '- override /{group}: {word}' in place of '- {key}: {word}'"
        return explain_option(group, word)


_opened: ContextVar[list[ConfigFile] | None] = ContextVar("opened", default=None)


@contextmanager
def record_files() -> Iterator[list[ConfigFile]]:
    """Lists the files that Hydra opens in here, those with a defaults list before what it names."""
    files: list[ConfigFile] = []
    token = _opened.set(files)
    try:
        yield files
    finally:
        _opened.reset(token)


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """OmegaConf's reading of YAML by the parser in C: a tenth of the time."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, "a key stands there twice")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _read_fast(path: str) -> tuple[dict[str, str | None], dict[str, Any]] | None:
    """Header and values of a file; None if there is anything special about it, or wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        values = yaml.load(text, _FastLoader)  # noqa: S506 - made of the safe loader
        header = FileConfigSource._get_header_dict(text[:512])
    except (ValueError, yaml.YAMLError):
        return None
    return (header, values) if isinstance(values, dict) else None


class ConfigFiles(FileConfigSource):
    """A folder of YAML files, each parsed once; it does not offer the files that options share."""

    _parsed: dict[tuple[str, int, int], tuple[dict[str, str | None], ConfigFile]] = {}  # noqa: RUF012 - of all folders

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a file, and parses it again only if it has changed.

        Raises:
            ConfigError: if it is damaged, or see `ConfigFile.check`.
        """
        path = os.path.join(self.path, self._normalize_file_name(config_path))
        try:
            header, file = self._parse_once(config_path, path)
        except FileNotFoundError:
            return super().load_config(config_path)  # which says so
        files = _opened.get()
        if files is not None:
            files.append(file)
        try:
            values = OmegaConf.create(file.values)  # a new one: Hydra takes the defaults list out of what it gets
        except OmegaConfBaseException as error:
            raise ConfigError(f"{path}: {error.full_key}: {str(error).splitlines()[0]}") from None
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", values, dict(header))

    def read(self, name: str) -> ConfigFile:
        """A file by its folder and word.

        Raises:
            ConfigError: as `load_config`.
            FileNotFoundError: if there is none.
        """
        return self._parse_once(name, os.path.join(self.path, self._normalize_file_name(name)))[1]

    def _parse_once(self, config_path: str, path: str) -> tuple[dict[str, str | None], ConfigFile]:
        state = os.stat(path)
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._parsed:
            self._parsed[key] = self._parse(config_path, path)
        return self._parsed[key]

    def _parse(self, config_path: str, path: str) -> tuple[dict[str, str | None], ConfigFile]:
        """The header of a file, and its content."""
        name = config_path.removesuffix(".yaml")
        group = os.path.dirname(name)
        try:
            header, plain = _read_fast(path) or self._read_as_hydra_does(config_path)
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: it is no text in UTF-8; save it as such") from None
        except yaml.MarkedYAMLError as error:
            line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            escape = "unknown escape character" in str(error.problem)
            hint = "; a regular expression stands in single quotes" * escape
            raise ConfigError(f"{path}{line}: it is not valid YAML: {error.problem}{hint}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: it is not valid YAML: {' '.join(str(error).split())}") from None
        except OmegaConfBaseException as error:
            raise ConfigError(f"{path}: {error.full_key}: {str(error).splitlines()[0]}") from None
        values = rename_keys(plain, group)
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: it must hold keys with their values, such as 'seed: 1'")
        package = header.get("package") or group.replace("/", ".")
        file = ConfigFile(path, name, "" if package == "_global_" else package, values)
        file.check()
        return header, file

    def _read_as_hydra_does(self, config_path: str) -> tuple[dict[str, str | None], Any]:
        read = super().load_config(config_path)
        return read.header, OmegaConf.to_container(read.config)

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Path, time and size of all files: different after any change."""
        found = (entry for folder, _, _ in os.walk(self.path) for entry in os.scandir(folder) if entry.is_file())
        return tuple((entry.path, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in found)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Names of options or groups for help, completion and error messages."""
        return [name for name in super().list(config_path, results_filter) if not name.startswith(SHARED)]


# Under this name Hydra finds its reader registered in the other processes of a launcher.
ConfigFiles.__name__ = FileConfigSource.__name__


def register() -> None:
    """Makes Hydra use this reader in this process."""
    Plugins.instance()  # registers its own first
    SourcesRegistry.instance().types["file"] = ConfigFiles


def find_setter(files: Sequence[ConfigFile], values: Mapping[str, Any], key: str) -> ConfigFile | None:
    """The file that a key has its value from.

    Args:
        files: all that were opened.
        values: what they make together, by whole keys, before `${...}` is replaced.
        key: such as `data.tile`; if it is missing, the file is the chosen option of its group.
    """
    own = {name: value for name, value in values.items() if f"{name}.".startswith(f"{key}.")}
    if not own:
        return next((file for file in files if file.group == key.split(".")[0]), None)
    has_all = (file for file in reversed(files) if all(file.keys.get(name, own) == own[name] for name in own))
    return next(has_all, None)


def explain(error: Exception, files: Sequence[ConfigFile]) -> str:
    """Hydra's own message on one line, with the path of the file that it means."""
    if isinstance(error, RecursionError):
        return f"{files[-1].path}: its defaults lead back to itself"
    text = re.split(r"\s*(?:Available options|Config search path|object_type=)", str(error) or str(error.__cause__))[0]
    text, _, key = (part.strip() for part in text.partition("full_key:"))
    place = re.match(r"In '?(.+?)'?:\s+(?:\w+ raised while composing config:)?", text)
    file = next((file for file in files if place and file.name == place[1]), None)
    text = text[place.end() :] if file and place else text
    text = text.replace("Cannot merge DictConfig with ListConfig", "a list stands where keys belong")
    return " ".join(f"{f'{file.path}: ' if file else ''}{f'{key}: ' if key else ''}{text}".split())
