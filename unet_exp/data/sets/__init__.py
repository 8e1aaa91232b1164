"""The data sets that a config can name, one module each: it enters what reads it into `DATA_SETS`."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from unet_exp.samples.data_set import DataSet

DATA_SETS: dict[str, Callable[[Any], DataSet]] = {}
"""What reads a data set, by the word of `data=`; it takes that word's config."""

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
