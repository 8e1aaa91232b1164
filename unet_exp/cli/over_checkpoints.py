"""What is typed over the configs of checkpoints, for the commands that use trained networks."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from unet_exp.checkpoints.checkpoint import Checkpoint, require_trusted
from unet_exp.compose import compose_over
from unet_exp.config.own_classes import OWN_CLASSES
from unet_exp.errors import ConfigError
from unet_exp.inference.ensemble import agree_on_inference, check_alike, open_checkpoints
from unet_exp.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OverCheckpoints:
    """Opened checkpoints, and the words of a command over their configs.

    Attributes:
        checkpoints: that `checkpoint=` names, at least one; several are an ensemble.
        left_out: see `unet_exp.inference.ensemble.Opened`.
        words: as typed.
        typed: the same, their values by their keys.
        defaults: the command's own keys.
        more_data: keys of `data`, with their defaults, that the command has for every checkpoint.
        scores: whether it reads the data that the config names, and scores what is predicted.
    """

    checkpoints: list[Checkpoint]
    left_out: list[str]
    words: Sequence[str]
    typed: Mapping[str, Any]
    defaults: dict[str, Any]
    more_data: dict[str, Any]
    scores: bool

    @classmethod
    def open(
        cls,
        words: Sequence[str],
        typed: Mapping[str, Any],
        defaults: dict[str, Any],
        more_data: dict[str, Any],
        scores: bool,
    ) -> "OverCheckpoints":
        """Opens what `checkpoint=` names, without the packages that only a file trusts; see the attributes.

        Raises:
            UserError: as `open_checkpoints`.
        """
        if sum(word.startswith("checkpoint=") for word in words) > 1:
            raise ConfigError("checkpoint is typed twice; several are a list: checkpoint=[A,B]")
        named, is_list = typed["checkpoint"], isinstance(typed["checkpoint"], list)
        # A number is a name; null and a list are none.
        listed = [str(one) if isinstance(one, int | float) else one for one in named] if is_list else str(named)
        opened = open_checkpoints(listed, _list_trusted(typed))
        _warn_of_unfinished(opened.checkpoints)
        return cls(opened.checkpoints, opened.left_out, words, typed, defaults, more_data, scores)

    @property
    def _replaces_inference(self) -> bool:
        """Whether `inference=<word>` is typed, and is another than that of one of the checkpoints.

        The word that all have changes nothing, as for one checkpoint.
        """
        names = [checkpoint.config.inference.name for checkpoint in self.checkpoints]
        return "inference" in self.typed and any(name != self.typed["inference"] for name in names)

    def compose(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The values of the command and of a checkpoint's training in one plain dict, with what is typed over them.

        Raises:
            UserError: for a word that does not fit, or for data, a loss or a score whose class needs trust.
        """
        # The training's machine and folders are not those of today.
        trainer = {**checkpoint.config.trainer.model_dump(), "accelerator": "auto"}
        base = {**checkpoint.config.model_dump(), "trainer": trainer}
        base["data"] = {**self.more_data, **base["data"]}
        if self._replaces_inference:
            base["inference"] = {}  # whichever of the members is the first
        values = compose_over(base, self.defaults, self.words)
        if self.scores:  # its network is opened already, or needs no class
            scored = [key for key, first in OWN_CLASSES.items() if first == "evaluate"]
            require_trusted(checkpoint.path, values, _list_trusted(self.typed), "evaluate", self.typed, scored)
        return values

    def check_agreement(self) -> None:
        """Checks that the values over the first checkpoint are good for the mean of all.

        Raises:
            UserError: if their classes or channels differ, or what is not typed.
        """
        check_alike(self.checkpoints)
        if not self._replaces_inference:
            agree_on_inference(self.checkpoints, self.typed)
        for key in self.more_data:
            name = f"data.{key}"
            for one, other in pairwise(self.checkpoints):
                own, theirs = ({**self.more_data, **each.config.data.model_dump()}[key] for each in (one, other))
                if own != theirs and name not in self.typed:
                    raise ConfigError(
                        f"checkpoint={other.path} was trained with {name}={theirs} and {one.path} with {name}={own}: "
                        f"type {name}=..."
                    )

    def describe(self, console: "Console") -> None:
        """Says which checkpoints and which test-time augmentation are meant, where the words do not say it."""
        for line in self.left_out:
            console.print(line, soft_wrap=True)
        if len(self.checkpoints) > 1:
            console.print(f"{len(self.checkpoints)} checkpoints:")
            for checkpoint in self.checkpoints:
                console.print(f"  {checkpoint.path}", soft_wrap=True)
        names = dict.fromkeys(checkpoint.config.inference.name for checkpoint in self.checkpoints)
        if "inference" not in self.typed and list(names) != ["none"]:
            console.print(f"inference={', '.join(names)}, as in the training; inference=none is faster", soft_wrap=True)


def _warn_of_unfinished(checkpoints: Iterable[Checkpoint]) -> None:
    """Warns of networks whose trainings still run, were stopped or have failed."""
    for checkpoint in checkpoints:
        if checkpoint.path.parent.name != "checkpoints":  # elsewhere nothing is known of its training
            continue
        run = RunFolder(checkpoint.path.parents[1])
        summary = run.read_summary()
        if summary.status is not None and not summary.is_over:
            _log.warning(
                "%s: its training is not over (%s); this is step %d", run.path, summary.status, checkpoint.step
            )


def _list_trusted(typed: Mapping[str, Any]) -> list[str]:
    """The packages that are trusted by what is typed now: a checkpoint must not declare itself trusted."""
    trust = typed.get("trust") or []
    return trust if isinstance(trust, list) else [str(trust)]
