"""Optuna's plots of a search: scores over trials and validations, and the importance of keys."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from unet_exp.files import write_whole

if TYPE_CHECKING:
    from optuna import Study
    from optuna.importance import PedAnovaImportanceEvaluator

_DPI = 110
_OURS = {"Best Value": "best so far", "Infeasible Trial": "not possible"}
"""Our words for those of Optuna's legend; the scores have the name of the monitor."""


def draw_search(study: "Study", evaluator: "PedAnovaImportanceEvaluator | None", target: Path, monitor: str) -> None:
    """Draws the scores of finished trials with the best so far, those of each validation, and the importance of keys.

    Args:
        study: the search; a pruned trial appears with the scores of its validations.
        evaluator: of the importance; None for too few trials.
        target: the PNG to write.
        monitor: name of the score.
    """
    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("agg")  # Optuna draws with pyplot, which would look for a display

    import matplotlib.pyplot as plt
    from optuna.visualization.matplotlib import (
        plot_intermediate_values,
        plot_optimization_history,
        plot_param_importances,
    )

    height = max(4.0, 1.2 + 0.3 * len({key for trial in study.get_trials(deepcopy=False) for key in trial.params}))
    panels = []
    # Each plot is a figure of its own and sets a style for all that come after it.
    # A class may have dollars in its name.
    with plt.rc_context({"text.parse_math": False}), write_whole(target) as side:
        history = plot_optimization_history(study, target_name=monitor)
        history.set(title="finished trials", xlabel="trial")
        handles, labels = history.get_legend_handles_labels()
        history.legend(handles, [_OURS.get(label, label) for label in labels], fontsize="small")
        validations = plot_intermediate_values(study)
        validations.set(title="all trials", xlabel="validation", ylabel=monitor)
        validations.legend().remove()  # a line for each trial
        drawn = [history, validations]
        for axes in drawn:
            axes.locator_params(axis="x", integer=True)
        if evaluator is not None:
            importance = plot_param_importances(study, evaluator)
            importance.set_title("which keys the best trials depend on", loc="left")
            importance.set(xlabel="share of the importance (PED-ANOVA)", ylabel="")
            importance.legend().remove()
            drawn.append(importance)
        for axes in drawn:
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.set(size_inches=(5.5, height), layout_engine="constrained")
            panel = io.BytesIO()
            figure.savefig(panel, dpi=_DPI)
            panel.seek(0)
            panels.append(plt.imread(panel))
            plt.close(figure)
        plt.imsave(side, np.hstack(panels))
