"""The warnings of several runs, each told once."""

from collections import Counter
from collections.abc import Iterable


def count_warnings(of_runs: Iterable[Iterable[str] | None], noun: str = "run") -> list[str]:
    """A line for each warning, with how many runs have it; in the order in which they are met.

    Args:
        of_runs: the warnings of each run; None where it has recorded none.
        noun: what a run is called.

    Returns:
        Such as `in all 6 runs: ...` and `in 2 of 6 runs: ...`; of a single run the warnings themselves.
    """
    sets = [dict.fromkeys(warnings or ()) for warnings in of_runs]
    total, counts = len(sets), Counter(warning for warnings in sets for warning in warnings)
    if total == 1:
        return list(counts)
    whole = "both" if total == 2 else f"all {total}"
    return [
        f"in {whole if count == total else f'{count} of {total}'} {noun}s: {warning}"
        for warning, count in counts.items()
    ]
