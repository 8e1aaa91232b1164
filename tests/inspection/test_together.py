"""Names that say which images belong together, where a split tears these apart; and names that say nothing of it."""

import re

import pytest

from unet_exp.inspection.together import find_torn

PARTS = ("train", "val", "test")


def split(names: list[str]) -> dict[str, str]:
    """Contiguous blocks, of which the middle one begins and ends within three images from a multiple of four."""
    first, second = len(names) // 2 + 1, 3 * len(names) // 4 + 1
    return {name: PARTS[(place >= first) + (place >= second)] for place, name in enumerate(names)}


@pytest.mark.parametrize(
    ("name", "told", "rule"),
    [
        ("patient{0:02} slide {1}", "patient04", r"'data.group=^patient\d+'"),
        ("case (a) {0}_{1}", "case (a) 4", r"'data.group=^case \(a\) \d+'"),
        ("{0:03}-{1}", "004", r"'data.group=^\d+'"),
        ("mouse {0}/{1}", "mouse 4", "data.group=folder"),
        ("{0:02}/t{1:03}", "04", "data.group=folder"),
        ("p{0}/left/{1}", "p4", "'data.group=^[^/]+'"),
    ],
)
def test_what_belongs_together_is_told_with_an_expression_that_works(name: str, told: str, rule: str) -> None:
    names = [name.format(group, image) for group in range(8) for image in range(4)]
    line = find_torn(split(names))
    assert line is not None
    assert line.startswith(f"{told} is in train and val, ")
    assert line.endswith(f"; if these belong together, type {rule}")
    expression = rule.strip("'").removeprefix("data.group=")
    if expression != "folder":
        assert len({re.search(expression, one)[0] for one in names}) == 8  # type: ignore[index]


@pytest.mark.parametrize(
    "names",
    [
        [f"s{number:02}" for number in range(32)],
        [f"img_{number:03}" for number in range(32)],
        [f"2024_{number:03}" for number in range(32)],
        [f"20{number // 4:02}_{number:03}" for number in range(32)],
        [f"t{number // 4:03}_c{number % 4}" for number in range(32)],
        [f"tile_{number // 4}_{number % 4}" for number in range(32)],
        [f"a{number // 4}f{number:02}" for number in range(32)],
        [f"patient{number:02} slide 0" for number in range(32)],
        [f"0{number // 16}/t{number:03}" for number in range(32)],
        [f"{kind}/{number}" for kind in ("benign", "malignant", "none", "other") for number in range(8)],
        [*(f"p{number // 4}_{number}" for number in range(31)), "another"],
    ],
    ids=lambda names: f"{names[0]} to {names[-1]}",
)
def test_plain_numbers_are_no_groups(names: list[str]) -> None:
    assert find_torn(split(names)) is None


def test_groups_that_no_split_tears_are_not_told() -> None:
    names = [f"p{group}_{image}" for group in range(8) for image in range(4)]
    assert find_torn({name: PARTS[place // 4 % 3] for place, name in enumerate(names)}) is None
