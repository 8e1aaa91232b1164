"""The gradient of an optimizer step: the mean of its batches, however many there are, in however many processes."""

from collections.abc import Iterable

from torch import nn


class StepMean:
    """Weighs the batches of an optimizer step by their patches on which a pixel counts.

    A batch has one loss (of a mean over pixels: over those of all its patches), and Lightning sums the losses of a
    step, each divided by the number of batches that a step should have. But the last step of an epoch may have fewer
    batches, the last batch fewer patches, and a patch on which no pixel counts is none. Where nothing is missing, no
    bit of the gradient changes.

    Args:
        batches: that a step should have, those of all processes.

    Attributes:
        patches: on which a pixel counts, of this process since the step began.
    """

    def __init__(self, batches: int = 1) -> None:
        self.patches = 0
        self._batches = batches
        self._size = 1

    def begin(self, size: int) -> None:
        """Begins a step whose first batch has `size` patches."""
        self.patches, self._size = 0, size

    def weigh(self, patches: int) -> float:
        """Adds a batch with so many patches on which a pixel counts; returns the factor of its loss."""
        self.patches += patches
        return 1.0 if self._batches == 1 else patches / self._size

    def finish(self, parameters: Iterable[nn.Parameter], patches: int) -> None:
        """Scales the gradients of a step to which all processes have added `patches`.

        Without any patch there is no gradient: the optimizer leaves the weights and its own state as they are, which it
        would not with a gradient of 0, because of momentum and weight decay.
        """
        expected = patches if self._batches == 1 else self._batches * self._size
        if patches and patches == expected:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * (expected / patches) if patches else None
