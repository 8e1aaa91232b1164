"""The words of the user's own options, which a config does not hold: it says `custom`, or what they build on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unet_exp.compare.collect import Run
from unet_exp.compare.settings import format_value, select_settings


def name_settings(groups: Sequence[Sequence[Run]], label_keys: Sequence[str]) -> list[dict[str, Any]]:
    """The settings of each group of runs, those of an option under the word that was typed for it.

    So `model=tiny`, an option of the user's own that is `model=custom model.target=...`. A word is taken where the
    command lines of all runs of a group have it, and where the words tell the same groups apart as the settings do.

    Args:
        groups: runs of equal settings.
        label_keys: see `select_label_keys`.
    """
    settings = [select_settings(runs[0], label_keys) for runs in groups]
    typed = [[_read_words(run) for run in runs] for runs in groups]
    keys_typed = {key for runs in typed for words in runs for key in words}
    for option in dict.fromkeys(key.partition(".")[0] for key in label_keys if "." in key):
        # What was typed beside the word stays beside it.
        keys = [
            key.removesuffix(".name") for key in label_keys if key.startswith(f"{option}.") and key not in keys_typed
        ]
        words = [
            _find_common(words.get(option) for words in runs) or found.get(option)
            for runs, found in zip(typed, settings, strict=True)
        ]
        values = [tuple(format_value(found.get(key)) for key in keys) for found in settings]
        kinds = len(set(words))
        tells_apart = kinds > 1 and kinds == len(set(values)) == len({*zip(words, values, strict=True)})
        # What goes with a shipped word, and differs from that of another one, is said beside it.
        rest = [key for key in keys if key != option]
        shipped = [found for word, found in zip(words, settings, strict=True) if word == found.get(option)]
        alike = len({tuple(format_value(found.get(key)) for key in rest) for found in shipped}) <= 1
        if None not in words and tells_apart and alike and len(shipped) < len(settings):
            settings = [_replace(found, keys, {option: word}) for found, word in zip(settings, words, strict=True)]
    return settings


def _read_words(run: Run) -> dict[str, str]:
    """The typed words of a run by their keys, the later ones of each."""
    pairs = (str(word).lstrip("+").partition("=") for word in run.summary.overrides or ())
    return {key: value for key, _, value in pairs}


def _find_common(words: Iterable[str | None]) -> str | None:
    """The only one; None if they differ."""
    found = set(words)
    return found.pop() if len(found) == 1 else None


def _replace(settings: Mapping[str, Any], keys: Sequence[str], by: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others in the place of some keys."""
    before = {}
    for key, value in settings.items():
        if key in keys:
            break
        before[key] = value
    return {**before, **by, **{key: value for key, value in settings.items() if key not in keys}}
