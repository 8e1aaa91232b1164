"""What a recipe has set for an option that another choice, typed or of a file that builds on it, replaces."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from unet_exp.config_files import RECIPES, ConfigFile, ConfigFiles
from unet_exp.files import conf_dir
from unet_exp.options import Options

_PROMISED = ("model.match",)
"""Keys of a recipe without which it would be another one: a comparison at equal cost."""
_WITHOUT_FUSION = "custom"
"""The model that has skips of its own, so that no fusion but the default goes with it."""
_OVERRIDE = "override /"


def leave_out_foreign(
    config: DictConfig, files: Sequence[ConfigFile], words: Mapping[str, Any], options: Options
) -> None:
    """Takes out what a recipe sets in a group and the option that is chosen over it has not.

    So `model=custom` beside `experiment=small` wins over the depth of its U-Net, and so does `override /model: custom`
    in a file that builds on `small`. A key that no option has stays, and is a mistake in the file; so does what the
    choosing file sets itself.

    Args:
        config: composed; it is changed.
        files: that it is made of, as opened: each before those that it builds on, and wins over.
        words: as typed, the values of groups.
        options: all of them.
    """
    recipes = [file for file in files if file.group.split("/")[0] in RECIPES]
    chosen = _find_choices(recipes, words)
    for group, (word, place) in chosen.items():
        if not isinstance(OmegaConf.select(config, group, throw_on_resolution_failure=False), DictConfig):
            continue  # a mistake in a file, which is told later
        kept, outdone = _list_keys(recipes[:place], group), _list_keys(recipes[place:], group)
        of_option = word if isinstance(word, list) else [word]
        for name in outdone - kept:
            owned = any(options.has_key(group, one, name) for one in of_option)
            if f"{group}.{name}" not in _PROMISED and options.find_owners(group, name) and not owned:
                with open_dict(config):
                    config[group].pop(name, None)
    _leave_out_fusion(config, files, chosen)


def _find_choices(recipes: Sequence[ConfigFile], words: Mapping[str, Any]) -> dict[str, tuple[Any, int]]:
    """By group, the word that is chosen, and the place of the first recipe that it wins over."""
    of_recipes = {
        group: (word, place + 1)
        for place, file in reversed([*enumerate(recipes)])  # the first one wins
        for group, word in _list_overrides(file)
    }
    return {**of_recipes, **{group: (word, 0) for group, word in words.items() if isinstance(word, str | list)}}


def _list_overrides(file: ConfigFile) -> Iterator[tuple[str, Any]]:
    """The groups and words of `- override /model: same` in the defaults list of a file."""
    for entry in file.values.get("defaults", ()):
        for key, word in entry.items() if isinstance(entry, dict) else ():
            if key.startswith(_OVERRIDE) and isinstance(word, str | list):
                yield key.removeprefix(_OVERRIDE), word


def _list_keys(recipes: Sequence[ConfigFile], group: str) -> set[str]:
    """The keys that some recipes set right below a group."""
    found = (key.split(".") for file in recipes for key in file.keys)
    return {parts[1] for parts in found if parts[0] == group and len(parts) > 1}


def _leave_out_fusion(config: DictConfig, files: Sequence[ConfigFile], chosen: Mapping[str, tuple[Any, int]]) -> None:
    """Goes back to the default fusion where a recipe has chosen one, and a model over it has none to choose."""
    place_of_model = chosen.get("model", ("", 0))[1]
    place_of_fusion = chosen.get("fusion", ("", 0))[1]
    if place_of_fusion > place_of_model and OmegaConf.select(config, "model.name") == _WITHOUT_FUSION:
        # The first file, of no group, names the default of each.
        defaults: list[Any] = next(file.values["defaults"] for file in files if not file.group)
        word = next(entry["fusion"] for entry in defaults if isinstance(entry, dict) and "fusion" in entry)
        config.fusion = ConfigFiles("main", str(conf_dir())).load_config(f"fusion/{word}").config
