"""What is written to be typed is read as it was meant."""

import shlex

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.compose import prepare_words
from unet_exp.typed import dump_in_one_line, join_words, write_value

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f\xa0$"), min_size=1)
PLAIN = st.text("ab1_é .:/\"'{}[],", min_size=1)


def read(typed: str) -> object:
    return OverridesParser.create().parse_override(f"key={typed}").value()


@given(
    st.one_of(TEXTS, st.sampled_from(["null", "True", "1", "-2.5", "1e3", "nan", "*.png", "a/b-c.tif", "\\", 'a\\"']))
)
def test_a_text_is_read_back(text):
    assert read(write_value(text)) == text


def test_paths_and_globs_stand_bare():
    for text in ("scans/*.png", "a-b/c_d.nii.gz", "_mask", "**/x?.tif"):
        assert write_value(text) == text


@given(st.lists(st.dictionaries(st.sampled_from(["name", "value"]), st.one_of(PLAIN, st.integers(-9, 999)))))
def test_lists_are_yaml_and_words(entries):
    text = dump_in_one_line(entries)
    assert "\n" not in text
    assert yaml.safe_load(text) == entries


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("seed=1", "seed=1"),
        (r"data.group=^patient\d+", r"'data.group=^patient\d+'"),
        ("data.root=my scans", "'data.root=my scans'"),
        ("init_from=a=1/best.ckpt", "init_from=a=1/best.ckpt"),
        ("data.root=it's", None),
        ("data.group=end\\", None),
        ("name='a b'", "\"name='a b'\""),
        ("data.mask_suffix='$x'", "'data.mask_suffix='\"'\"'$x'\"'\"''"),
        ("input='[a]'", None),
        ("input='a,b'", None),
        ("data.lists='null'", None),
        ('data.images="{a,b}/*.png"', "'data.images=\"{a,b}/*.png\"'"),
    ],
)
def test_recorded_words_are_shown_as_typed_and_read_as_before(typed, shown):
    recorded = prepare_words([typed])
    written = join_words(recorded)
    assert prepare_words(shlex.split(written)) == recorded
    assert shown is None or written == shown
