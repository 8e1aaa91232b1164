"""Files as they are listed: their order, and what is seen of each."""

import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.errors import DataError
from unet_exp.io.listing import list_files, natural_key, scan_files

PATHS = st.lists(st.text(st.sampled_from("ab0019.-/_é \x01\U0001f600\udcff"), max_size=10), min_size=2, max_size=2)


def key_of_lists(path):
    """Numbers as numbers, what is between them as text."""
    parts = re.split(r"([0-9]+)", path)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def compare(one, other):
    return (one > other) - (one < other)


@given(st.lists(PATHS, min_size=30, max_size=30))
def test_the_natural_order_takes_numbers_by_value(pairs):
    for one, other in [*pairs, ("a" + "9" * 130, "a" + "8" * 131), ("a0", "a"), ("a-1", "a1"), ("a00", "a0")]:
        wanted = compare(key_of_lists(one), key_of_lists(other))
        assert compare(natural_key(one), natural_key(other)) == wanted
        # Keys are also sorted as bytes, which end in no NUL.
        keys = [natural_key(path).encode("utf-8", "surrogatepass") for path in (one, other)]
        assert compare(*keys) == wanted
        assert compare(*np.array(keys)) == wanted


def test_files_that_differ_in_leading_zeros_alone_are_in_the_order_of_texts(tmp_path):
    for path in ("a1/2.png", "a01/3.png", "a1/02.png", "a01/02.png", "a001/10.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = [name for name, _ in list_files(tmp_path).images]
    assert found == ["a01/02", "a1/02", "a1/2", "a01/3", "a001/10"]


def test_files_behind_links_are_listed_once_and_looked_at_through_them(tmp_path):
    root, far = tmp_path / "root", tmp_path / "far"
    (root / "in").mkdir(parents=True)
    far.mkdir()
    (far / "x.png").write_bytes(b"123")
    (root / "in/a.png").symlink_to(far / "x.png")
    (root / "b").symlink_to(far)
    (root / "loop").symlink_to(root)
    (root / "dead.png").symlink_to("nowhere")
    (root / "self.png").symlink_to("self.png")
    (root / ".hidden").mkdir()
    (root / ".hidden/c.png").touch()
    files = scan_files(root)
    seen = dict(zip(files.paths, files.stamps.tolist(), strict=True))
    there = (far / "x.png").stat()
    stamp = [there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns]
    assert seen == {"in/a.png": stamp, "b/x.png": stamp, "dead.png": [0] * 4, "self.png": [0] * 4}
    assert scan_files(root, recursive=False, stamps=False).stamps.shape == (0, 4)


def test_numbers_of_the_system_beyond_64_bits_are_no_mistake(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    true = os.stat

    class Far:
        st_size, st_ino, st_mtime_ns, st_ctime_ns = 1, 2**64 - 1, -5, 2**63

    monkeypatch.setattr(os, "stat", lambda path, **words: Far if str(path).endswith(".png") else true(path, **words))
    monkeypatch.setattr(type(tmp_path), "is_file", lambda path: path.suffix == ".png")
    assert scan_files(tmp_path / "a.png").stamps[0, :2].tolist() == [1, 2**63 - 1]


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").touch()
    true = os.open

    def refuse(path, *words):
        if str(path).endswith("in"):
            raise PermissionError(13, "Permission denied", path)
        return true(path, *words)

    monkeypatch.setattr(os, "open", refuse)  # chmod does not stop root.
    with pytest.raises(DataError, match=f"^{tmp_path}/in: cannot be opened \\(Permission denied\\); check"):
        scan_files(tmp_path)
