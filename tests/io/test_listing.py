"""Files as they are listed: their order, and what is seen of each."""

import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.errors import DataError
from unet_exp.io.listing import list_files, natural_key, scan_files
from unet_exp.io.stamps import stamp_item

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
        st_mode, st_size, st_ino, st_mtime_ns, st_ctime_ns = 0o100644, 1, 2**64 - 1, -5, 2**63

    monkeypatch.setattr(os, "stat", lambda path, **words: Far if str(path).endswith(".png") else true(path, **words))
    monkeypatch.setattr(type(tmp_path), "is_file", lambda path: path.suffix == ".png")
    assert scan_files(tmp_path / "a.png").stamps[0, :2].tolist() == [1, 2**63 - 1]


def make(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())


def found(spec, **words):
    files = scan_files(spec, stamps=False, **words)
    places = files.sort(np.flatnonzero(files.read))
    return [(files.name(files.paths[place]), files.path(place)) for place in places]


def found_below(root, spec, **words):
    return [(name, path.relative_to(root).as_posix()) for name, path in found(f"{root}/{spec}", **words)]


def test_braces_are_wildcards_and_suffixes_in_them_are_part_of_no_name(tmp_path):
    make(tmp_path, "train/a.png", "val/a.png", "test/a.png", "val/b.jpg", "val/c.tif", "{x,y}/d.png")
    assert found_below(tmp_path, "{train,val}/*.png") == [("train/a", "train/a.png"), ("val/a", "val/a.png")]
    assert found_below(tmp_path, "val/*.{png,JPG,jpg}") == [("a", "val/a.png"), ("b", "val/b.jpg")]
    assert found_below(tmp_path, "val/{*.png,?.tif}") == [("a", "val/a.png"), ("c", "val/c.tif")]
    assert found_below(tmp_path, "{t*,v[!b]l}/{a,b}.*") == [
        ("test/a/png", "test/a.png"),
        ("train/a/png", "train/a.png"),
        ("val/a/png", "val/a.png"),
        ("val/b/jpg", "val/b.jpg"),
    ]
    assert found_below(tmp_path, "{x,y}/*.png") == [("d", "{x,y}/d.png")], "a folder of this name is no pattern"
    assert found_below(tmp_path, "val/{c}*") == []


def test_a_glob_that_ends_in_a_slash_names_folders(tmp_path):
    make(tmp_path, "1/masks/a.png", "2/masks/b.png", "2/masks/more/c.png", ".3/masks/x.png", "4/masks/in/y.png")
    (tmp_path / "5/masks").mkdir(parents=True)
    (tmp_path / "6").mkdir()
    (tmp_path / "6/masks").touch()
    assert found_below(tmp_path, "*/masks/") == [("1", "1/masks"), ("2", "2/masks"), ("5", "5/masks")]
    assert found_below(tmp_path, "**/") == [
        (name, name) for name in ("1/masks", "2/masks", "2/masks/more", "4/masks/in", "5/masks", "6")
    ]
    assert [name for name, _ in found_below(tmp_path, "1/masks/")] == ["a"], "without a wildcard it is a folder"


def test_a_zarr_is_one_item_and_paths_go_on_inside_containers(tmp_path):
    make(tmp_path, "a.zarr/0/.zarray", "v/b.zarr/zarr.json", "v/c.h5", "v/d.npz", "v/e.h5/f.png", "v/g.png")
    assert list(scan_files(tmp_path / "*.zarr").paths) == ["a.zarr"]
    assert found_below(tmp_path, "*.zarr/") == [("a", "a.zarr")], "it is a folder too"
    assert found_below(tmp_path, "*/*.{h5,npz}/raw/volume") == [
        ("v/c", "v/c.h5/raw/volume"),
        ("v/d", "v/d.npz/raw/volume"),
    ]
    assert found_below(tmp_path, "**/*.zarr/0") == [("a", "a.zarr/0"), ("v/b", "v/b.zarr/0")]
    for spec, name in (("a.zarr", "a"), ("a.zarr/0", "a"), ("v/c.h5/raw", "c"), ("v/d.npz", "d")):
        assert found_below(tmp_path, spec) == [(name, spec)]
    assert found_below(tmp_path, "v/e.h5/*.png") == [("f", "v/e.h5/f.png")], "a folder is no container, but a Zarr"
    files = scan_files(tmp_path)
    assert set(files.paths) == {"a.zarr", "v/b.zarr", "v/c.h5", "v/d.npz", "v/e.h5/f.png", "v/g.png"}
    with pytest.raises(DataError, match=r"v/\*\.h5/r\*: wildcards do not look inside a file; name one array"):
        scan_files(tmp_path / "v/*.h5/r*")


def test_annotations_count_where_they_are_asked_for(tmp_path):
    make(tmp_path, "a.json", "b.xml", "c.GeoJSON", "d.png", "e.txt")
    assert [name for name, _ in found_below(tmp_path, "")] == ["d"]
    assert [name for name, _ in found_below(tmp_path, "", kinds="masks")] == ["a", "b", "c", "d"]
    assert [name for name, _ in found_below(tmp_path, "", kinds="annotations")] == ["a", "b", "c"]


def change_folder(root, what):
    path = root / "in/a.png"
    if what == "content":
        path.write_bytes(b"12345")
    elif what == "touch":
        os.utime(path, ns=(2**62, 2**62))
    elif what == "add":
        (root / "in/b.png").touch()
    elif what == "remove":
        path.unlink()
    elif what == "metadata":
        (root / "in/labels/.zattrs").write_bytes(b"{}")


@pytest.mark.parametrize("what", ["nothing", "content", "touch", "add", "remove"])
def test_a_folder_that_is_an_item_has_the_stamp_of_its_files(tmp_path, what):
    make(tmp_path, "in/a.png", "in/c.png")
    os.utime(tmp_path / "in", ns=(5, 5))
    (before,) = scan_files(f"{tmp_path}/*/").stamps.tolist()
    assert list(stamp_item(tmp_path / "in")) == before
    change_folder(tmp_path, what)
    (after,) = scan_files(f"{tmp_path}/*/").stamps.tolist()
    assert list(stamp_item(tmp_path / "in")) == after
    assert ((before[0], before[2]) == (after[0], after[2])) == (what == "nothing")


def test_the_stamp_inside_a_container_is_its_own_and_that_of_a_zarr_its_metadata(tmp_path):
    make(tmp_path, "x.h5", "in.zarr/.zgroup", "in.zarr/0/.zarray", "in.zarr/labels/n/zarr.json", "in.zarr/0/0.0")
    there = (tmp_path / "x.h5").stat()
    assert stamp_item(tmp_path / "x.h5/raw") == (there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns)
    assert stamp_item(tmp_path / "y.h5/raw") == (0, 0, 0, 0)
    for inner in ("", "0", "labels/n"):
        item = tmp_path / "in.zarr" / inner
        before = stamp_item(item)
        assert scan_files(item).stamps.tolist() == [list(before)]
        for place in ("0/.zarray", "labels/n/zarr.json"):
            os.utime(tmp_path / "in.zarr" / place, ns=(2**62, 2**62))
            assert (stamp_item(item)[2] != before[2]) == (place == "0/.zarray" or inner == "labels/n")
            os.utime(tmp_path / "in.zarr" / place, ns=(9, 9))
        os.utime(tmp_path / "in.zarr/0/0.0", ns=(2**62, 2**62))
        assert stamp_item(item)[2] < 2**62, "chunks are not looked at"


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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{train,val,tset}/*.png", r"\{tset\} matches nothing \(there: test\); correct it"),
        ("**/{train, val}/*.png", r"\{ val\} matches nothing \(there: val\); correct it, without blanks"),
        ("train/{a,c}.png", r"\{c\} matches nothing \(there: a, b\)"),
        ("{train,{val,test}}/*", "has braces within braces; write them all in one"),
        ("*/ct", r"only folders match, such as p/ct; end the glob with / if each of them is one item"),
    ],
)
def test_a_glob_that_names_less_than_it_says_is_refused(tmp_path, spec, message):
    make(tmp_path, *(f"{part}/{name}.png" for part in ("train", "val", "test") for name in "ab"), "p/ct/1", "p/mr/1")
    with pytest.raises(DataError, match=rf"^{re.escape(f'{tmp_path}/{spec}')}: {message}"):
        list_files(f"{tmp_path}/{spec}")
    assert len(list_files(f"{tmp_path}/{{train,val}}/*.{{jpg,png}}").images) == 4, "suffixes need not be there"
    make(tmp_path, "train/in/c_t.png")
    make(tmp_path, "q/{a,b}.png")
    assert len(list_files(f"{tmp_path}/q/{{a,b}}.png").images) == 1, "a file of this name is no pattern"
    assert len(list_files(f"{tmp_path}/{{train,p}}/**/*_t.png").images) == 1, "nor files in each folder"


def test_a_folder_of_dicom_files_without_suffixes_is_one_item(tmp_path):
    make(tmp_path, "p/ct/README", "p/txt/README")
    os.mkfifo(tmp_path / "p/ct/pipe")
    (tmp_path / "p/ct/IM1").write_bytes(bytes(128) + b"DICM")
    assert found_below(tmp_path, "p/ct") == found_below(tmp_path, "p/ct/") == [("ct", "p/ct")]
    with pytest.raises(DataError, match="holds nothing that is read"):
        list_files(tmp_path / "p/txt")
