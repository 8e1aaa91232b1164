"""How a job of Hydra's launchers gets its words, and its config."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from unet_exp.compose import compose_command

_OF_JOBS = ("sweep", "job", "job_logging", "output_subdir", "overrides", "runtime", "verbose")
"""Hydra's settings that it reads around a job."""


class JobLoader(ConfigLoaderImpl):
    """Gives launchers a config without the training, which `read_job` composes.

    Hydra's own loader opens all files of `conf/` again for each job, and its launchers copy a config seven times: that
    would take longer than all else around a run.

    Args:
        loader: Hydra's own.
        config_dir: a folder of the user's own configs.
    """

    def __init__(self, loader: ConfigLoader, config_dir: str | None) -> None:
        super().__init__(config_search_path=loader.get_search_path())
        self._config_dir = config_dir
        self._common: DictConfig | None = None

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """Hydra's settings for a job with its words in `hydra.overrides.task`, and the folder of the user's configs."""
        if self._common is None:
            self._common = OmegaConf.masked_copy(master_config, "hydra")
            hydra = self._common.hydra
            with open_dict(self._common), read_write(hydra), open_dict(hydra):
                self._common.config_dir = self._config_dir
                for key in [str(key) for key in hydra if key not in _OF_JOBS]:
                    del hydra[key]
                hydra.runtime.choices, hydra.runtime.config_sources = {}, []
        config = deepcopy(self._common)
        config.hydra.overrides.task = list(sweep_overrides)
        return config


def read_job(config: DictConfig) -> dict[str, Any]:
    """Composes the words of the current job as they were composed to check them: plain values.

    Args:
        config: of `JobLoader`.

    Raises:
        ConfigError: as `compose_command`.
    """
    composed = compose_command(list(HydraConfig.get().overrides.task), config.config_dir)
    return {**composed.training, "sweep": composed.sweep, "search": composed.search}


class ForgetConfigs(Callback):
    """Takes the config out of what a job returns: nobody reads it, and those of thousands of jobs fill the memory."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called by Hydra in the process of the job."""
        del config, kwargs
        job_return.cfg = job_return.hydra_cfg = None
