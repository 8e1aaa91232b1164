"""What several runs warn of, told once."""

from unet_exp.runs.shared_warnings import count_warnings


def test_each_warning_is_counted_once() -> None:
    runs = [["small", "late"], ["late"], None, ["late", "late"]]
    assert count_warnings(runs) == ["in 1 of 4 runs: small", "in 3 of 4 runs: late"]
    assert count_warnings([["late"]] * 3, "trial") == ["in all 3 trials: late"]
    assert count_warnings([["late"]] * 2) == ["in both runs: late"]
    assert count_warnings([["late", "small"]]) == ["late", "small"]
