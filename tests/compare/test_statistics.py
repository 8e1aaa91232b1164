import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unet_exp.compare.statistics import (
    effect_size,
    holm,
    mean_interval,
    pairs_for_power,
    pairs_for_significance,
    sign_flip_test,
    smallest_p,
)

SCORES = st.floats(-1, 1, allow_subnormal=False).map(lambda value: round(value, 6))


def brute_force_p(differences: list[float]) -> float:
    """Every pattern of signs, in exact fractions."""
    exact = [Fraction(value) for value in differences]
    observed = abs(sum(exact))
    patterns = list(itertools.product((1, -1), repeat=len(exact)))
    as_far = sum(
        abs(sum(sign * value for sign, value in zip(signs, exact, strict=True))) >= observed for signs in patterns
    )
    return as_far / len(patterns)


@pytest.mark.parametrize("values", [[], [0.7]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    assert all(math.isnan(end) for end in mean_interval(values))


def test_equal_values_are_their_own_interval() -> None:
    assert mean_interval([0.3, 0.3, 0.3]) == (0.3, 0.3)


@given(st.lists(SCORES, min_size=2, max_size=30))
def test_the_interval_holds_the_mean_and_lies_among_the_values(values: list[float]) -> None:
    low, high = mean_interval(values)
    assert min(values) - 1e-12 <= low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high <= max(values) + 1e-12
    assert mean_interval(values) == (low, high)


@given(st.lists(SCORES, min_size=2, max_size=12), st.floats(0.5, 4), st.floats(-2, 2))
def test_the_interval_moves_and_stretches_with_the_values(values: list[float], scale: float, shift: float) -> None:
    low, high = mean_interval(values)
    moved = mean_interval(np.array(values) * scale + shift)
    assert moved == pytest.approx((low * scale + shift, high * scale + shift), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "least", "most"), [(3, 0.65, 0.80), (20, 0.91, 0.98)])
def test_the_interval_covers_the_mean_of_normal_values_as_often_as_it_says(n: int, least: float, most: float) -> None:
    rng = np.random.default_rng(n)
    intervals = [mean_interval(rng.normal(size=n)) for _ in range(200)]
    assert least < np.mean([low <= 0 <= high for low, high in intervals]) < most


@pytest.mark.parametrize("values", [[0.1, math.nan], [[0.1, 0.2]], [math.inf, 0.0, 1.0]])
def test_only_finite_values_in_one_dimension_are_taken(values: list[float]) -> None:
    for function in (mean_interval, sign_flip_test, effect_size):
        with pytest.raises(ValueError, match="finite"):
            function(values)


@given(st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 2)), min_size=1, max_size=9))
def test_sign_flips_are_those_of_a_brute_force_enumeration(differences: list[float]) -> None:
    # As whole hundredths, of which the fractions are exact.
    assert sign_flip_test(differences) == pytest.approx(brute_force_p([round(100 * x) for x in differences]))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0, 2.0, 3.0], 2 / 8),
        ([-1.0, -2.0, -3.0], 2 / 8),
        ([1.0, 2.0, -3.0], 1.0),  # the sum is 0: nothing is nearer
        ([0.1, 0.2, -0.3], 1.0),  # in floats it is 5.6e-17
        ([1.0, 1.0, 1.0, 1.0, 1.0, -1.0], 14 / 64),
        ([0.1] * 10, 2 / 1024),
        ([0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.5], 1.0),
        ([0.5], 1.0),
    ],
)
def test_sign_flips_worked_by_hand(differences: list[float], p: float) -> None:
    assert sign_flip_test(differences) == p


def test_sign_flips_of_nothing_have_no_p() -> None:
    assert math.isnan(sign_flip_test([]))


@given(st.lists(SCORES, min_size=2, max_size=8), st.floats(1e-6, 1e6))
def test_p_knows_neither_direction_nor_unit(differences: list[float], unit: float) -> None:
    p = sign_flip_test(differences)
    assert smallest_p(len(differences)) <= p <= 1
    assert sign_flip_test([-value for value in differences]) == p
    assert sign_flip_test([value * unit for value in differences]) == p


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8])
def test_drawn_sign_flips_are_near_all_of_them(shift: float) -> None:
    differences = np.random.default_rng(1).normal(shift, 1, 16)
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    drawn = sign_flip_test(differences)
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact / 20_000) + 2e-4)
    assert sign_flip_test(differences) == drawn


@pytest.mark.parametrize(
    ("pairs", "p"), [(0, 1.0), (1, 1.0), (2, 0.5), (6, 0.03125), (14, 2 / 2**14), (40, 2 / 20_001)]
)
def test_smallest_p(pairs: int, p: float) -> None:
    assert smallest_p(pairs) == p
    assert pairs < 2 or sign_flip_test(np.arange(1.0, pairs + 1)) == p


@pytest.mark.parametrize(
    ("given_p", "adjusted"),
    [
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.01, 0.02, 0.9], [0.03, 0.04, 0.9]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, math.nan, 0.03], [0.04, math.nan, 0.04]),
        ([0.01, 0.01], [0.02, 0.02]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holm_worked_by_hand(given_p: list[float], adjusted: list[float]) -> None:
    assert holm(given_p).tolist() == pytest.approx(adjusted, nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_adjustment_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1)).all()
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    # Holm's own words: reject the smallest ones while each is at most alpha over the number that is left.
    ordered = sorted(p_values)
    rejected = list(itertools.takewhile(lambda at: ordered[at] * (len(ordered) - at) <= 0.05, range(len(ordered))))
    assert np.count_nonzero(adjusted <= 0.05) == len(rejected)


@pytest.mark.parametrize(
    ("tests", "alpha", "pairs"), [(1, 0.05, 6), (2, 0.05, 7), (3, 0.05, 7), (1, 0.01, 8), (1, 1e-4, 15)]
)
def test_pairs_for_significance_worked_by_hand(tests: int, alpha: float, pairs: int) -> None:
    assert pairs_for_significance(tests, alpha) == pairs
    assert smallest_p(pairs) * tests <= alpha < smallest_p(pairs - 1) * tests


@pytest.mark.parametrize(("tests", "alpha"), [(1, 1e-5), (1000, 0.05)])
def test_drawn_patterns_cannot_reach_every_level(tests: int, alpha: float) -> None:
    assert pairs_for_significance(tests, alpha) is None
    assert pairs_for_power(1.0, alpha / tests) is None
    assert pairs_for_power(math.inf, alpha / tests) is None


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (-0.5, 34), (0.8, 15), (5.0, 6), (math.inf, 6)])
def test_pairs_for_power_are_those_of_the_tables(effect: float, pairs: int) -> None:
    assert pairs_for_power(effect) == pairs


@given(st.floats(0.05, 2), st.sampled_from([0.05, 0.025, 0.01]))
def test_pairs_for_power_have_the_power_of_a_noncentral_t(effect: float, alpha: float) -> None:
    def power(pairs: int) -> float:
        limit, shift = stats.t.isf(alpha / 2, pairs - 1), effect * math.sqrt(pairs)
        return float(stats.nct.sf(limit, pairs - 1, shift) + stats.nct.cdf(-limit, pairs - 1, shift))

    pairs = pairs_for_power(effect, alpha)
    assert pairs is not None
    assert power(pairs) > 0.75
    assert pairs == pairs_for_significance(1, alpha) or power(pairs - 1) < 0.83


@pytest.mark.parametrize("effect", [0.0, -0.0, math.nan, 1e-9, 5e-324])
def test_pairs_for_power_of_no_effect_are_not_known(effect: float) -> None:
    assert pairs_for_power(effect) is None


def test_effect_size_worked_by_hand() -> None:
    # mean 2, standard deviation 1, J(2) = Gamma(1) / Gamma(1/2)
    assert effect_size([1.0, 2.0, 3.0]) == pytest.approx(2 / math.sqrt(math.pi))
    assert effect_size([-1.0, -2.0, -3.0]) == pytest.approx(-2 / math.sqrt(math.pi))
    values = np.random.default_rng(0).normal(0.4, 1, 25)
    assert effect_size(values) == pytest.approx(values.mean() / values.std(ddof=1) * (1 - 3 / (4 * 24 - 1)), rel=1e-3)


@pytest.mark.parametrize(
    ("differences", "effect"),
    [([0.0] * 3, 0.0), ([0.1] * 7, math.inf), ([-0.1] * 7, -math.inf), ([1.0, 2.0], math.nan), ([], math.nan)],
)
def test_effect_size_where_there_is_no_spread_or_no_estimate(differences: list[float], effect: float) -> None:
    assert effect_size(differences) == pytest.approx(effect, nan_ok=True)


def test_the_corrected_effect_size_has_no_bias() -> None:
    samples = np.random.default_rng(0).normal(0.5, 1, (20_000, 5))
    assert np.mean([effect_size(sample) for sample in samples]) == pytest.approx(0.5, abs=0.02)
