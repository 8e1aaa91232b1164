"""Hydra's reader of `conf/` and of a folder of the user's own configs."""

import os
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from unet_exp.config.renamed import rename_keys

SHARED = "_"
"""Prefix of files that hold what options share, and are no options themselves."""


class ConfigFiles(FileConfigSource):
    """A folder of YAML files, each parsed once; it does not offer the files that options share."""

    _parsed: dict[tuple[str, int, int], tuple[dict[str, str | None], Any]] = {}  # noqa: RUF012 - of all folders

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a file, and parses it again only if it has changed."""
        path = os.path.join(self.path, self._normalize_file_name(config_path))
        try:
            state = os.stat(path)
        except FileNotFoundError:
            return super().load_config(config_path)  # which says so
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._parsed:
            read = super().load_config(config_path)
            group = os.path.dirname(config_path)
            self._parsed[key] = read.header, rename_keys(OmegaConf.to_container(read.config), group)
        header, values = self._parsed[key]
        # Hydra takes the defaults list out of what it gets.
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", OmegaConf.create(values), dict(header))

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
