"""Many short texts in little memory: in one array, found again by their hashes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

_CHUNK = 1 << 14
"""Texts that are unpacked at a time."""
_START = 64
"""Bytes of keys that are sorted as an array."""


class Texts(Sequence[str]):
    """Texts without the letter NUL; each is made when it is asked for.

    Attributes:
        packed: (bytes,) the texts in UTF-8, a NUL after each.
    """

    def __init__(self, packed: NDArray[np.uint8]) -> None:
        self.packed = packed
        ends = np.flatnonzero(packed == 0)
        self._bounds = np.zeros(len(ends) + 1, np.min_scalar_type(len(packed)))
        self._bounds[1:] = ends
        self._bounds[1:] += 1

    @classmethod
    def of(cls, texts: Iterable[str], like: "Texts | None" = None) -> "Texts":
        """Packs texts; where they are those of `like`, this is the result, and nothing is stored twice."""
        packed = bytearray()
        rest, same = iter(texts), 0
        while chunk := list(islice(rest, _CHUNK)):
            piece = _encode("\0".join(chunk) + "\0")
            if like is not None and like.packed[same : same + len(piece)].tobytes() == piece:
                same += len(piece)
                continue
            if like is not None:
                packed += like.packed[:same].tobytes()
                like = None
            packed += piece
        if like is not None:
            return like if same == len(like.packed) else cls(like.packed[:same].copy())
        return cls(np.frombuffer(packed, np.uint8))

    @property
    def sizes(self) -> Places:
        """(N,) bytes of each."""
        bounds = self._bounds.astype(np.int64)
        return bounds[1:] - bounds[:-1] - 1

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Texts": ...

    def __getitem__(self, index: int | slice) -> "str | Texts":
        places = range(len(self))[index]
        if isinstance(places, range):
            return self.take(places)
        return _decode(self.packed[self._bounds[places] : self._bounds[places + 1] - 1])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            yield from _decode(self.packed[self._bounds[start] : self._bounds[stop] - 1]).split("\0")

    def take(self, places: Sequence[int] | Places) -> "Texts":
        """Those at some places, in their order."""
        chosen = np.asarray(places, np.int64)
        sizes = (self._bounds[chosen + 1] - self._bounds[chosen]).astype(np.int64)
        packed = np.empty(sizes.sum(), np.uint8)
        done = 0
        for first in range(0, len(chosen), _CHUNK):  # An index for each byte takes eight times the texts' memory.
            part = slice(first, first + _CHUNK)
            ends = np.cumsum(sizes[part])
            index = np.repeat(self._bounds[chosen[part]] - (ends - sizes[part]), sizes[part]) + np.arange(ends[-1])
            packed[done : done + ends[-1]] = self.packed[index]
            done += ends[-1]
        return Texts(packed)

    def same_as(self, other: "Texts") -> bool:
        """Whether these are the same texts in the same order."""
        return np.array_equal(self.packed, other.packed)


class TextIndex:
    """Finds texts among others: a million take 16 MB."""

    def __init__(self, texts: Texts) -> None:
        hashes = _hash(texts)
        self._texts = texts
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, wanted: Texts) -> Places:
        """(len(wanted),) the first place of each, -1 for one that is not there."""
        found = np.full(len(wanted), -1, np.int64)
        if not len(self._texts):
            return found
        hashes = _hash(wanted)
        slots = np.searchsorted(self._hashes, hashes)
        asked = np.flatnonzero(self._hashes[np.minimum(slots, len(self._texts) - 1)] == hashes)
        places = self._order[slots[asked]]
        found[asked] = places
        for number in _differ(wanted, asked, self._texts, places):  # two texts of one hash
            one = int(asked[number])
            found[one] = next(
                (place for place in self._probe(int(slots[one])) if self._texts[place] == wanted[one]), -1
            )
        return found

    def find_firsts(self) -> Places:
        """(N,) for each text the place of the first that is equal."""
        new = np.append(True, self._hashes[1:] != self._hashes[:-1])[: len(self._order)]
        slots = np.flatnonzero(new)
        firsts = np.empty(len(self._order), np.int64)
        firsts[self._order] = np.repeat(self._order[slots], np.diff(np.append(slots, len(new))))
        again = np.flatnonzero(firsts != np.arange(len(firsts)))
        for number in _differ(self._texts, again, self._texts, firsts[again]):
            place = int(again[number])
            slot = int(np.searchsorted(self._hashes, self._hashes[self._order == place][0]))
            firsts[place] = next(other for other in self._probe(slot) if self._texts[other] == self._texts[place])
        return firsts

    def _probe(self, slot: int) -> Iterator[int]:
        """The places of all texts of one hash, in ascending order, from their first slot."""
        wanted = self._hashes[slot]
        while slot < len(self._order) and self._hashes[slot] == wanted:
            yield int(self._order[slot])
            slot += 1


def sort_texts(texts: Texts, key: Callable[[str], str], tie: Callable[[int], Any]) -> Places:
    """The places of texts in the order of their keys, which end in no NUL; those of one key by `tie` of their place."""
    starts = [np.zeros(0, "S1")]
    for first in range(0, len(texts), _CHUNK):
        part = texts[first : first + _CHUNK]
        starts.append(np.array([_encode(key(text))[:_START] for text in part]))
    joined = np.concatenate(starts)
    del starts
    order = np.argsort(joined, kind="stable")
    joined = joined[order]
    # Texts of one start are next to each other: what remains is to sort each such run.
    ends = np.append(np.flatnonzero(joined[1:] != joined[:-1]) + 1, len(order))
    runs = np.diff(ends, prepend=0)
    for stop, size in zip(ends[runs > 1].tolist(), runs[runs > 1].tolist(), strict=True):
        run = slice(stop - size, stop)
        order[run] = sorted(order[run].tolist(), key=lambda place: (key(texts[place]), tie(place)))
    return order


def _hash(texts: Texts) -> Places:
    return np.fromiter(map(hash, texts), np.int64, len(texts))


def _encode(text: str) -> bytes:
    # Names of files that are no text in the system's encoding hold single surrogates.
    return text.encode("utf-8", "surrogatepass")


def _decode(packed: NDArray[np.uint8]) -> str:
    return str(packed.data, "utf-8", "surrogatepass")


def _differ(texts: Texts, places: Places, others: Texts, other_places: Places) -> list[int]:
    """The numbers of the pairs of places at which two texts differ."""
    found: list[int] = []
    for start in range(0, len(places), _CHUNK):
        one, other = (of.take(at[start : start + _CHUNK]) for of, at in ((texts, places), (others, other_places)))
        if not one.same_as(other):
            found += [start + number for number, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return found
