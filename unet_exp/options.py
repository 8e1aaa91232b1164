"""The words that can be typed: the groups and options of `conf/` and of a folder of the user's own."""

import glob
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, Quote, QuotedString

from unet_exp import config_files
from unet_exp.config_files import ConfigFiles
from unet_exp.errors import ConfigError, suggest
from unet_exp.extras import hint_extra
from unet_exp.files import conf_dir
from unet_exp.other_words import OPTIONS, WITHOUT_LOGGER
from unet_exp.typed import is_path

_LAUNCHER = "hydra/launcher"
"""The only group of Hydra's own that is typed."""


class _AnyLetters(overrides_parser.InputStream):  # type: ignore[misc, name-defined]
    """A typed word in which letters of all scripts are such to Hydra's grammar, which knows a to z alone."""

    def _loadString(self) -> None:
        super()._loadString()
        self.data = [ord(sign if sign.isascii() or sign.isspace() else "a") for sign in self.strdata]


overrides_parser.InputStream = _AnyLetters  # type: ignore[attr-defined]


def quote(text: str) -> str:
    """Quotes any text for Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def search_path(extra_dir: str | None) -> list[str]:
    """The override that adds a folder of the user's own configs to Hydra's search path.

    Raises:
        ConfigError: if the folder does not exist, or has a file that `conf/` has too.
    """
    if extra_dir is None:
        return []
    folder = Path(extra_dir)
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {extra_dir}: there is no such folder")
    for shipped in conf_dir().rglob("*.yaml"):
        own = folder / shipped.relative_to(conf_dir())
        if own.is_file() and not own.samefile(shipped):
            raise ConfigError(
                f"{own}: conf/ has a file of this name too, which would be read in its place; rename yours"
            )
    return [f"hydra.searchpath=[{quote(f'file://{folder.resolve()}')}]"]


@contextmanager
def initialize_hydra() -> Iterator[ConfigLoader]:
    """Starts Hydra with `conf/` as its folder of configs, also inside a job of Hydra's."""
    config_files.register()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = outer


class Options:
    """The groups and options of `conf/` and of a folder of the user's own.

    Args:
        extra_dir: the folder.
        takes_dir: whether the command line could name one.

    Attributes:
        shipped: groups of `conf/`, and the launcher's.
        groups: those in both folders.
    """

    def __init__(self, extra_dir: str | None = None, takes_dir: bool = False) -> None:
        # Not Hydra's loader, which copies all of its settings at each call: a tenth of the time of composing.
        folders = [str(conf_dir()), *([] if extra_dir is None else [extra_dir])]
        self._folders = [ConfigFiles("main", folder) for folder in folders]
        ours, *theirs = ([*filter(_is_ours, files.list("", ObjectType.GROUP))] for files in self._folders)
        self.shipped = [*ours, _LAUNCHER]
        self._lacks_dir = takes_dir and extra_dir is None
        self.groups = sorted({*ours, *(group for groups in theirs for group in groups)})

    def words(self, group: str) -> list[str]:
        """All options of a group."""
        found = [files.list(group, ObjectType.CONFIG) for files in self._folders if files.is_group(group)]
        if group == _LAUNCHER:
            with initialize_hydra() as loader:
                found.append(loader.get_group_options(group))
        return sorted({word for words in found for word in words})

    def about(self, group: str, word: str) -> str:
        """What the comment in the first lines of an option's file says; empty for none."""
        for files in self._folders:
            path = Path(files.path, group, f"{word}.yaml")
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                head = takewhile(lambda line: line.startswith("#"), lines)
                return " ".join(line.strip("# ") for line in head if "@package" not in line)
        return ""

    def list_folders(self, below: str = "") -> Iterator[str]:
        """All folders that hold options: groups, and those inside them, such as `experiment/liver` of the user's own.

        Args:
            below: the folder to look in; empty for all.
        """
        inside = (files.list(below, ObjectType.GROUP) for files in self._folders if files.is_group(below))
        for name in sorted({name for names in inside for name in names if below or _is_ours(name)}):
            folder = f"{below}/{name}".lstrip("/")
            if self.words(folder):
                yield folder
            yield from self.list_folders(folder)

    def find_owners(self, group: str, key: str) -> list[str]:
        """The options of a group in `conf/` that have a key."""
        files = self._folders[0]
        return [
            word for word in self.words(group) if files.is_config(f"{group}/{word}") and self.has_key(group, word, key)
        ]

    def has_key(self, group: str, word: object, key: str) -> bool:
        """Whether an option has a key, in its own file or in those that it begins with."""
        files = next((files for files in self._folders if files.is_config(f"{group}/{word}")), None)
        if files is None:
            return False
        file = files.read(f"{group}/{word}")
        # Without a package its keys are whole ones, as those of search=optuna, which sets others too.
        own = file.values if file.package else file.values.get(group)
        bases = file.values.get("defaults", ())
        return (isinstance(own, dict) and key in own) or any(self.has_key(group, base, key) for base in bases)

    def chooses(self, override: Override) -> bool:
        """Whether a word chooses options, and does not set a key; a group of the user's own is added with a plus."""
        return override.key_or_group in (*self.shipped, *(self.groups if override.is_add() else ()))

    def explain(self, group: str, word: str) -> str | None:
        """The mistake, if a group has no such option."""
        if group not in self.groups and group != _LAUNCHER:
            return f"there is no group {group}; choose one of {list_names(self.groups, group)}"
        words = self.words(group)
        in_folder = "/" in word and any(files.is_config(f"{group}/{word}") for files in self._folders)
        if word in words or in_folder:
            return None
        missing = group == _LAUNCHER and "joblib" not in words
        hint = f"; more of them come with: {hint_extra('sweep')}" if missing else ""
        if meant := OPTIONS.get((group, word.lower())):
            return f"{group}={word}: no such option; {meant}"
        if self._lacks_dir and group != _LAUNCHER:
            own = _find_own(f"{group}/{word}.yaml")
            if own is not None:
                return f"{group}={word}: {own[1]} is an option only with --config-dir {shlex.quote(own[0])}"
            hint = "" if suggest(word, words) else "; options of your own need --config-dir <folder>"
        return f"{group}={word}: no such option; choose one of {list_names(words, word)}{hint}"


def _find_own(name: str) -> tuple[str, str] | None:
    """A folder in the working directory that holds a file, and the path of this."""
    try:
        return next(((path.parts[0], str(path)) for path in sorted(Path().glob(f"*/{glob.escape(name)}"))), None)
    except (OSError, ValueError, NotImplementedError):  # no name of a file
        return None


def _is_ours(group: str) -> bool:
    """Whether a folder of configs is no group of Hydra's own."""
    return group != "hydra"


def is_for_hydra(override: Override) -> bool:
    """Whether a word is one of Hydra's own, such as `hydra/launcher=joblib`."""
    return override.key_or_group.split(".")[0].split("/")[0] == "hydra"


def check_word(override: Override, options: Options) -> None:
    """Refuses a word that is no option, and one that nothing would read.

    Raises:
        ConfigError: with what can be typed.
    """
    group, line, value = override.key_or_group, override.input_line, override.value()
    if is_for_hydra(override) and group != _LAUNCHER and not group.startswith("hydra.launcher."):
        raise ConfigError(
            f"{line}: this is not typed; of Hydra's own settings only hydra/launcher and hydra.launcher... are "
            "(commas make a sweep, search=optuna a search, output= names a folder, --config-dir adds configs)"
        )
    if override.package is not None:
        raise ConfigError(f"{line}: leave out @{override.package}")
    owner = group.removesuffix(".name")
    if owner != group and owner in options.groups:
        if owner == "logger" and str(value) not in options.words(owner):
            raise ConfigError(f"{line}: the run's name is name={'...' if value is None else value}")
        raise ConfigError(f"{line}: {_explain_name(owner, value, options)}")
    if not options.chooses(override):
        return
    if override.is_delete():
        without = f"; {WITHOUT_LOGGER}" if group == "logger" else ""
        words = ", ".join(options.words(group))
        raise ConfigError(f"{line}: an option is not taken away; leave it out, or choose one of {words}{without}")
    if override.type != OverrideType.CHANGE and group in options.shipped:
        raise ConfigError(f"{line}: type it without +")
    if isinstance(value, list) and group not in ("experiment", "logger"):
        raise ConfigError(f"{line}: one option is needed here; several are a sweep: -m {group}=a,b")
    for word in value if isinstance(value, list) else [value]:
        if mistake := options.explain(group, write_option(word)):
            raise ConfigError(mistake)
    if isinstance(value, list) and group == "logger":
        check_loggers([str(word) for word in value])


def _explain_name(group: str, value: Any, options: Options) -> str:
    """What to type in place of the name of an option."""
    if value is None:
        return f"choose the whole option with {group}=..."
    word, words = write_option(value), options.words(group)
    if meant := OPTIONS.get((group, word.lower())):
        return meant
    of = "" if word in words else f"..., one of {list_names(words, word)}"
    return f"choose the whole option with {group}={of or word}"


def write_option(value: Any) -> str:
    """The word of an option that YAML may have read as something else."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def check_loggers(words: Sequence[str]) -> None:
    """Checks the words of several loggers, `logger=[wandb,tensorboard]`.

    Raises:
        ConfigError: for one twice, and for `csv`, which is written beside all.
    """
    from unet_exp.config.loggers import check_logger_names  # only now: a word needs no schema

    try:
        check_logger_names(words)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def explain_unread(text: str) -> str:
    """What to say of a typed word that Hydra's grammar does not take."""
    if of_brackets := re.fullmatch(r"([^=]+=(?:choice|interval|range))\[(.*)\]", text):
        return f"cannot read {text!r}: did you mean '{of_brackets[1]}({of_brackets[2]})'?"
    if "=" not in text and is_path(text):
        look = f"python scripts/check_data.py data=folder {shlex.quote(f'data.root={text}')}"
        return (
            f"cannot read {text!r}: all is typed as key=value; images of your own are data=folder "
            f"data.images=<folder> data.masks=<folder>, and {look} finds them"
        )
    return (
        f"cannot read {text!r}: words look like model=same or optimizer.lr=0.01 "
        "(quote values that hold spaces, commas or brackets)"
    )


def refuse_several(override: Override, why: str) -> ConfigError:
    """The error of several values where one is needed.

    Args:
        override: with the values.
        why: what they are, and what to do.
    """
    line, group, choice = override.input_line, override.key_or_group, override.value()
    if not isinstance(choice, ChoiceSweep) or not choice.simple_form:
        return ConfigError(f"{line}: {why}")
    values = str(line).partition("=")[2].split(",")
    numbers = all(isinstance(value, int | float) for value in choice.list)
    if group == "logger":
        others = [value for value in values if value != "csv"]
        meant = f"'logger=[{','.join(others)}]'" if len(others) > 1 else f"logger={''.join(others) or 'csv'}"
        csv = ", and csv is written with all" if "csv" in values else ""
        return ConfigError(f"{line}: {why}; several loggers are a list{csv}: did you mean {meant}?")
    if numbers or group in Options().shipped:
        return ConfigError(f"{line}: {why}")
    return ConfigError(f"{line}: {why}; a list is '{group}=[{','.join(values)}]', and a text with a comma has quotes")


def list_names(names: Sequence[str], wanted: str) -> str:
    """Lists what could have been typed, and what is most like `wanted`."""
    return ", ".join(names) + suggest(wanted, names)
