"""How several trainings are run as one sweep."""

from typing import Annotated

from pydantic import Field

from unet_exp.schema import Strict


class SweepConfig(Strict):
    """A sweep.

    Attributes:
        resume: folder of an earlier sweep, of which what is missing or failed is run.
        report: whether it ends with the comparison of its runs.
        run: the folder of one run; the sweep sets it for each of its jobs.
        trial: number of the search's trial that this run is; the sweep sets it.
    """

    resume: str | None
    report: bool
    run: str | None = None
    trial: Annotated[int, Field(ge=0)] | None = None
