"""The words of the user's own options, which a config does not hold: it says `custom`, and which class."""

from collections.abc import Iterable, Sequence
from typing import Any

from unet_exp.compare.collect import Run
from unet_exp.compare.settings import encode_value, select_settings
from unet_exp.typed import split_words

_OWN = "custom"


def name_settings(groups: Sequence[Sequence[Run]], label_keys: Sequence[str]) -> list[dict[str, Any]]:
    """The settings of each group of runs, a class of the user's own under the word that was typed for it.

    So `model=tiny`, an option that is `model=custom model.target=...`. Only the class and its parameters are behind the
    word: whatever else differs stays a setting of its own.

    Args:
        groups: runs of equal settings.
        label_keys: see `select_label_keys`.
    """
    settings = [select_settings(runs[0], label_keys) for runs in groups]
    for option in dict.fromkeys(key.partition(".")[0] for key in label_keys if "." in key):
        own = [place for place, runs in enumerate(groups) if runs[0].config.get(f"{option}.name") == _OWN]
        words = [_find_word(groups[place], option) for place in own]
        # What was typed beside the word stays beside it.
        keys = [key for key in _list_behind(groups, option) if not any(_is_typed(key, runs) for runs in groups)]
        classes = [tuple(encode_value(groups[place][0], key) for key in keys) for place in own]
        if not {f"{option}.name", *keys} & {*label_keys}:  # all have one class
            continue
        if None in words or not len(set(words)) == len(set(classes)) == len({*zip(words, classes, strict=True)}):
            continue
        for place, word in zip(own, words, strict=True):
            left = {key: value for key, value in settings[place].items() if key not in keys}
            settings[place] = {key: word if key == option else left.get(key) for key in dict.fromkeys((option, *left))}
    return settings


def _find_word(runs: Sequence[Run], option: str) -> str | None:
    """The word that was typed for an option in all runs of a group; None if there is none, or if it says nothing."""
    word = _find_common(_read_words(run).get(option) for run in runs)
    return None if word == _OWN else word


def _list_behind(groups: Sequence[Sequence[Run]], option: str) -> list[str]:
    """The keys of any run that say which class an option is."""
    behind = (f"{option}.target", f"{option}.params")
    keys = dict.fromkeys(key for runs in groups for key in runs[0].config)
    return [key for key in keys if key in behind or key.startswith(f"{option}.params.")]


def _is_typed(key: str, runs: Sequence[Run]) -> bool:
    return any(key in _read_words(run) for run in runs)


def _read_words(run: Run) -> dict[str, str]:
    return split_words(map(str, run.summary.overrides or ()))


def _find_common(words: Iterable[str | None]) -> str | None:
    """The only one; None if they differ."""
    found = set(words)
    return found.pop() if len(found) == 1 else None
