"""Many texts in one array: they come back, are found, numbered and sorted."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.io import texts
from unet_exp.io.texts import TextIndex, Texts, sort_texts

NAMES = st.text(st.one_of(st.sampled_from("ab01é\udcff"), st.characters(min_codepoint=1)), max_size=6)
LISTS = st.lists(NAMES, max_size=12)


@pytest.fixture(params=["hashes differ", "hashes clash"])
def _hashes(request, monkeypatch):
    if request.param == "hashes clash":
        monkeypatch.setattr(texts, "_hash", lambda of: of.sizes % 2)
    monkeypatch.setattr(texts, "_CHUNK", 4)


pytestmark = pytest.mark.usefixtures("_hashes")


def first_places(words, among):
    return [among.index(word) if word in among else -1 for word in words]


@given(LISTS, st.data())
def test_texts_come_back(words, data):
    packed = Texts.of(words)
    assert list(packed) == [packed[place] for place in range(len(words))] == words
    assert packed.sizes.tolist() == [len(word.encode("utf-8", "surrogatepass")) for word in words]
    assert list(packed[1::2]) == words[1::2]
    places = data.draw(st.lists(st.integers(0, len(words) - 1), max_size=12) if words else st.just([]))
    assert list(pickle.loads(pickle.dumps(packed.take(places)))) == [words[place] for place in places]


@given(LISTS, LISTS, st.integers(0, 12))
def test_texts_that_are_there_already_are_not_stored_again(words, others, kept):
    known = Texts.of(words)
    assert Texts.of(iter(words), known) is known
    changed = words[:kept] + others
    assert list(Texts.of(changed, known)) == changed


@given(LISTS, LISTS)
def test_texts_are_found_at_their_first_place(words, wanted):
    index = TextIndex(Texts.of(words))
    assert index.find(Texts.of(wanted + words)).tolist() == first_places(wanted + words, words)
    assert index.find_firsts().tolist() == first_places(words, words)


@given(st.lists(st.tuples(st.integers(0, 2), NAMES), max_size=12))
def test_texts_are_sorted_by_key_then_by_tie(words):
    """Keys of one start, longer than what is sorted as an array, differ at their ends alone."""
    packed = Texts.of(f"{'x' * 100 * long}{word}" for long, word in words)

    def key(text):
        return f"{text[:-1]}."

    order = sort_texts(packed, key, lambda place: -place)
    assert order.tolist() == sorted(range(len(words)), key=lambda place: (key(packed[place]), -place))


def test_a_million_short_texts_take_little_memory():
    packed = Texts.of(f"{number:07d}" for number in range(1000))
    assert len(pickle.dumps(packed)) < 12 * 1000
    assert np.shares_memory(packed.packed, Texts(packed.packed).packed)
