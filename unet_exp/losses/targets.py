"""What a loss makes of a label before it is trained on."""

from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import BorderWeightedConfig, LossConfig
from unet_exp.weight_map import ALL, Instances, Label, Part, border_term, find_instances, open_touching, reach


class Targets(Protocol):
    """What a loss makes of a label; `targets` builds it. It can be pickled, for the workers of a loader."""

    @property
    def reach(self) -> int:
        """How far around a pixel the label decides its target, pixels; 0 where the pixel's own label is all."""

    def __call__(
        self, label: Label, instances: Instances | None, part: Part = ALL
    ) -> tuple[Label, NDArray[np.float32] | None]:
        """The target of a label.

        Args:
            label: (H, W).
            instances: (H, W), where there are any; not used where `reach` is 0.
            part: the pixels whose target is asked for.

        Returns:
            The label to train on (H, W) of the part, and the weights of its pixels (H, W), or None.
        """


def targets(config: LossConfig) -> Targets:
    """What the loss that the config names makes of a label.

    For `border_weighted`: touching instances opened (`open_touching`), and the distance term of the weight map; the
    cells are the instances, or the 4-connected components of each class where there are none. Give the instances of
    the whole image where the label is a patch of it: a cell that the patch cuts in two stays one cell.
    For the other losses: the label as it is, and None.
    """
    return _BorderTargets(config) if isinstance(config, BorderWeightedConfig) else _LabelAlone()


@dataclass(frozen=True)
class _BorderTargets:
    config: BorderWeightedConfig

    @property
    def reach(self) -> int:
        # The distance term is negligible farther away; each of the four steps of opening looks one pixel ahead.
        return ceil(reach(self.config.w0, self.config.sigma)) + 4 * self.config.open_touching

    def __call__(
        self, label: Label, instances: Instances | None, part: Part = ALL
    ) -> tuple[Label, NDArray[np.float32]]:
        if instances is None:
            instances = find_instances(label)
        if self.config.open_touching:
            label, instances = open_touching(label, instances)
        return label[part], border_term(instances, self.config.w0, self.config.sigma, self.config.where, part)


class _LabelAlone:
    reach = 0

    def __call__(self, label: Label, instances: Instances | None, part: Part = ALL) -> tuple[Label, None]:
        del instances
        return label[part], None
