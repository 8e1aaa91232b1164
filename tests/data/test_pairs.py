"""Pairs of images and masks: in columns, stored, and found again where little has changed."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.errors import DataError
from unet_exp.folder.named_files import FileSpecs, Spec
from unet_exp.folder.pairing import find_pairs, find_views
from unet_exp.folder.pairs import Pairs

FILES = ("a1.png", "a01.png", "a10.tif", "s/b.png", "s/c.npy", "d.bmp")
CHANGES = ("nothing", "add", "remove", "rename", "touch", "replace", "again", "suffix", "view", "one view")


def fill(root, files, folders=("images", "masks")):
    for folder in folders:
        for name in files:
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())


def find(root, views=None, suffix="", masks="masks", **words):
    return find_pairs(make_specs([root / "images"], root / masks, suffix, views), lambda name: name == "lone", **words)


def make_specs(images, masks, suffix="", view=None):
    masks = masks if isinstance(masks, dict) else {"": masks}
    return FileSpecs(
        tuple(Spec.of("data.images", str(spec)) for spec in images),
        {label: Spec.of(f"data.masks.{label}".strip("."), str(spec)) for label, spec in masks.items()},
        suffix,
        None if view is None else Spec.of("data.field_of_view", str(view)),
    )


def change(root, what, name):
    """Changes the files; the words to type then."""
    paths = [root / folder / name for folder in ("images", "masks")]
    if what in ("view", "one view"):
        return {"views": str(root / ("views" if what == "view" else "views/d.png"))}
    if what == "suffix":
        return {"suffix": "1"}
    for number, path in enumerate(paths):
        other = path.with_name(f"0{path.name}")
        if what == "add":
            other.write_bytes(b"")
        elif what == "remove":
            path.unlink(missing_ok=True)
        elif what == "rename" and path.exists():
            path.rename(other)
        elif what == "touch" and path.exists():
            os.utime(path, ns=(number, number))
        elif what == "replace" and number:
            other.write_bytes(b"other")
            other.replace(path)
        elif what == "again" and path.exists():  # the system may then list it elsewhere
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
    return {}


def outcome(*words, **named):
    try:
        return {key: (of.dtype, of.tolist()) for key, of in find(*words, **named).to_arrays().items()}
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("views", [None, "views", "views/d.png"])
@given(changes=st.lists(st.tuples(st.sampled_from(CHANGES), st.sampled_from(FILES)), max_size=3))
def test_what_is_known_changes_no_result(tmp_path_factory, changes, views):
    root = tmp_path_factory.mktemp("files")
    fill(root, FILES)
    fill(root, ["lone.png"], ["images"])
    fill(root, [*(name.replace(".npy", ".png") for name in FILES), "lone.png", "0d.png", "d.png"], ["views"])
    words = {} if views is None else {"views": str(root / views)}
    known = find(root, **words).to_arrays()
    for what, name in changes:
        words |= change(root, what, name)
    fresh = outcome(root, **words)
    assert outcome(root, **words, known=known) == fresh


def test_known_files_are_not_named_and_sorted_again(tmp_path, monkeypatch):
    fill(tmp_path, FILES)
    known = find(tmp_path).to_arrays()
    os.utime(tmp_path / "masks/a1.png", ns=(7, 7))
    monkeypatch.setattr("unet_exp.folder.named_files.natural_key", None)
    monkeypatch.setattr("unet_exp.io.listing.normalize_name", None)
    found = find(tmp_path, known=known)
    assert list(found) == list(Pairs.from_arrays(known))
    changed = (found.stamps != Pairs.from_arrays(known).stamps).any(axis=2)
    assert np.argwhere(changed).tolist() == [[1, 1]]  # the mask of a1, behind a01
    monkeypatch.undo()
    (tmp_path / "masks/a1.png").unlink()
    with pytest.raises(DataError, match=r"a1\.png: no mask"):
        find(tmp_path, known=known)


def test_which_image_may_lack_a_mask_is_asked_anew(tmp_path):
    fill(tmp_path, ["a.png"])
    fill(tmp_path, ["lone.png"], ["images"])
    known = find(tmp_path).to_arrays()
    with pytest.raises(DataError, match=r"lone\.png: no mask"):
        find_pairs(make_specs([tmp_path / "images"], tmp_path / "masks"), lambda _: False, known=known)


def test_pairs_are_stored_and_taken(tmp_path):
    fill(tmp_path, FILES)
    fill(tmp_path, ["lone.png"], ["images"])
    pairs = find(tmp_path)
    assert [pair.name for pair in pairs] == list(pairs.names) == ["a01", "a1", "a10", "lone", "s/b", "s/c"]
    np.savez(tmp_path / "known.npz", **pairs.to_arrays())
    with np.load(tmp_path / "known.npz") as stored:
        again = Pairs.from_arrays(stored)
        assert list(find(tmp_path, known=stored)) == list(pairs)
    part = pickle.loads(pickle.dumps(again.take([5, 3])))
    assert list(part) == [pairs[5], pairs[3]]
    assert list(pairs[-2:]) == [pairs[4], pairs[5]]
    assert pairs[3].mask is None
    assert np.array_equal(part.stamps, pairs.stamps[[5, 3]])
    assert not pairs.stamps[3, 1:].any()
    assert not pairs.stamps[:, 2].any()
    seen = pairs[0].mask.stat()
    assert pairs.stamps[0, 1].tolist() == [seen.st_size, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns]
    # A part does not tell how all files are paired.
    assert list(find(tmp_path, known=part.to_arrays())) == list(pairs)


def test_pairs_take_a_few_numbers_each(tmp_path):
    fill(tmp_path, [f"{number:04d}.png" for number in range(300)])
    pairs = find(tmp_path)
    assert len(pickle.dumps(pairs)) < 300 * 150 + 2000


def test_one_folder_is_listed_once_for_images_and_masks(tmp_path):
    fill(tmp_path, ["a.png", "a_mask.png", "x/b_mask.png", "x/b.tif", "c.gif"], ["images"])
    pairs = find(tmp_path, suffix="_mask", masks="images")
    assert [(pair.image.name, pair.mask.name) for pair in pairs] == [("a.png", "a_mask.png"), ("b.tif", "b_mask.png")]
    known = pairs.to_arrays()
    assert "files1.paths" not in known
    assert list(find(tmp_path, suffix="_mask", masks="images", known=known)) == list(pairs)
    # The same files by other words.
    assert list(find(tmp_path, suffix="_mask", masks="images/**/*", known=known)) == list(pairs)


def test_one_file_that_is_image_and_mask(tmp_path):
    fill(tmp_path, ["a_mask.png"], ["images"])
    file = str(tmp_path / "images/a_mask.png")
    with pytest.raises(DataError, match="a mask without an image"):
        find_pairs(make_specs([file], file, "_mask"), lambda _: False)


def test_views_of_some_images(tmp_path):
    fill(tmp_path, ["a.png", "b.png", "c.png"])
    images = {"c": tmp_path / "c.png", "a": tmp_path / "a.png"}

    def views(place):
        return Spec.of("data.field_of_view", str(tmp_path / place))

    assert find_views(views("masks"), images) == {name: tmp_path / "masks" / f"{name}.png" for name in images}
    assert find_views(views("masks/b.png"), images) == dict.fromkeys(images, tmp_path / "masks/b.png")
    with pytest.raises(DataError, match=r"x\.png: no mask of the field of view .* the name x is .* such as a is found"):
        find_views(views("masks"), {"x": tmp_path / "x.png"})
