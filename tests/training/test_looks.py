"""A steady step asks the device for nothing; what stays on it is looked at before it could do harm."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from conftest import summary, table
from hypothesis import given
from hypothesis import strategies as st
from resuming import Part, Train, ask_nothing, breaking, check_equal, newest
from torch import Tensor, nn

from unet_exp.checkpoints.reading import EPOCH_LOSSES, read_content
from unet_exp.errors import TrainingError
from unet_exp.training import callbacks
from unet_exp.training.epoch_losses import EpochLosses
from unet_exp.training.module import SegmentationModule
