"""Pairs of images and masks: in columns, stored, and found again where little has changed."""

import json
import os
import pickle
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.errors import DataError
from unet_exp.folder.matching import Side, match_names
from unet_exp.folder.named_files import FileSpecs, Spec
from unet_exp.folder.pairing import find_pairs, find_views
from unet_exp.folder.pairs import Pairs
from unet_exp.io.specs import Source
from unet_exp.io.texts import Texts

FILES = ("a1.png", "a01.png", "a10.tif", "s/b.png", "s/c.npy", "d.psd")
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
    fill(tmp_path, ["a.png", "a_mask.png", "x/b_mask.png", "x/b.tif", "c.psd"], ["images"])
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


def make(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())


def pair(root, images, masks, suffix="", view=None, missing=False, **words):
    """Pairs by specs below a folder; returns names with the paths of their files below it."""
    images = [root / spec for spec in ([images] if isinstance(images, str) else images)]
    masks = {label: f"{root}/{spec}" for label, spec in (masks if isinstance(masks, dict) else {"": masks}).items()}
    specs = make_specs(images, masks, suffix, None if view is None else root / view)
    return find_pairs(specs, lambda _: missing, **words)


def paths(root, pairs):
    return {
        one.name: [None if path is None else path.relative_to(root).as_posix() for path in one.files] for one in pairs
    }


class TestChannels:
    def test_each_image_has_a_file_of_each(self, tmp_path):
        make(tmp_path, *(f"{place}/{name}.tif" for place in ("r", "g", "b", "m") for name in ("1", "x/2")))
        pairs = pair(tmp_path, ["r", "g", "b"], "m")
        assert paths(tmp_path, pairs) == {
            name: [f"{place}/{name}.tif" for place in "rgbm"] + [None] for name in ("1", "x/2")
        }
        assert pairs.images == 3
        assert pairs[0].image == pairs[0].images[0] == tmp_path / "r/1.tif"
        assert pairs[0].mask == tmp_path / "m/1.tif"
        assert pairs.stamps.shape == (2, 5, 4)
        again = Pairs.from_arrays(pairs.to_arrays())
        assert list(again) == list(pairs)
        assert np.array_equal(again.stamps, pairs.stamps)
        assert list(pair(tmp_path, ["r", "g", "b"], "m", known=pairs.to_arrays())) == list(pairs)
        assert list(pair(tmp_path, ["r", "g"], "m", known=pairs.to_arrays())) != list(pairs)

    def test_one_that_is_missing_and_one_too_many_are_named(self, tmp_path):
        make(tmp_path, "r/1.png", "r/2.png", "g/2.png", "m/1.png", "m/2.png")
        with pytest.raises(DataError, match=r"r/1\.png: 1 of 2 images have no file in .*/g, where 1 is looked for"):
            pair(tmp_path, ["r", "g"], "m")
        make(tmp_path, "g/1.png", "g/3.png")
        with pytest.raises(DataError, match=r"g/3\.png: channels without an image in data\.images=.*/r; add"):
            pair(tmp_path, ["r", "g"], "m")

    @pytest.mark.parametrize("images", [["r/*_1.png", "r/*_1.png"], ["g", "r/*_1.png", "r/{1,2}_1.png"]])
    def test_a_file_that_is_given_twice_is_refused(self, tmp_path, images):
        make(tmp_path, *(f"{path}.png" for name in "12" for path in (f"r/{name}_1", f"g/{name}", f"m/{name}")))
        with pytest.raises(DataError, match=r"/1.*\.png: data\.images names .*/r/1_1\.png twice for one image"):
            pair(tmp_path, images, "m")

    def test_names_of_channels_may_have_more(self, tmp_path, caplog):
        make(tmp_path, *(f"{who}/{who}_{what}.png" for who in ("p1", "p2") for what in ("t1", "t2", "seg")))
        pairs = pair(tmp_path, ["*/*_t1.png", "*/*_t2.png"], "*/*_seg.png")
        assert paths(tmp_path, pairs)["p1/p1"] == ["p1/p1_t1.png", "p1/p1_t2.png", "p1/p1_seg.png", None]
        assert not caplog.records


def test_masks_that_are_named_otherwise_are_shown(tmp_path):
    make(tmp_path, "i/Cat.png", "i/ox.png", "m/ape.png", "m/cat.png", "m/ox.png")
    with pytest.raises(
        DataError, match=r"where Cat\.png or the like is looked for and cat is found, whose case differs;"
    ):
        pair(tmp_path, "i", "m")
    make(tmp_path, "n/Cat_id.png", "n/ox_id.png", "n/Cat_color.png")
    with pytest.raises(DataError, match=r"Cat_color\.png: does not end in data\.mask_suffix=_id; .*/n/\*_id\.png'$"):
        pair(tmp_path, "i", "n", suffix="_id")
    assert len(pair(tmp_path, "i", "n/*_id.png")) == 2


class TestFilesOfClasses:
    def test_a_class_without_a_file_is_none_and_is_told(self, tmp_path, caplog):
        make(tmp_path, "i/1.png", "i/2.png", "i/3.png", "a/1_a.png", "a/2_a.png", "a/3_a.png", "b/1_b.png")
        masks = {"a": "a/*_a.png", "b": "b/*_b.png"}
        pairs = pair(tmp_path, "i", masks)
        assert pairs[0].masks == (("a", tmp_path / "a/1_a.png"), ("b", tmp_path / "b/1_b.png"))
        assert pairs[1].masks == (("a", tmp_path / "a/2_a.png"), ("b", None))
        said = "data.masks: 2 of 3 images have no file of a class (b in 2), and so nothing of it"
        assert [record.getMessage() for record in caplog.records] == [said]
        caplog.clear()
        assert list(pair(tmp_path, "i", masks, known=pairs.to_arrays())) == list(pairs)
        assert [record.getMessage() for record in caplog.records] == [said]

    def test_an_image_without_any_has_no_mask(self, tmp_path):
        make(tmp_path, "i/1.png", "i/2.png", "a/1.png", "b/1.png")
        with pytest.raises(
            DataError, match=r"i/2\.png: no mask in data\.masks\.a=.*/a, data\.masks\.b=.*/b, where 2\.png"
        ):
            pair(tmp_path, "i", {"a": "a", "b": "b"})
        assert pair(tmp_path, "i", {"a": "a", "b": "b"}, missing=True)[1].mask is None
        make(tmp_path, "i/2.png", "b/2.png", "b/4.png")
        with pytest.raises(DataError, match=r"b/4\.png: a mask without an image"):
            pair(tmp_path, "i", {"a": "a", "b": "b"})


class TestNamesThatDoNotFit:
    def test_the_common_part_is_left_out_and_told_with_the_words_that_say_the_same(self, tmp_path, caplog):
        make(tmp_path, *(f"i/{number}_training.tif" for number in (21, 22, 30)))
        make(tmp_path, *(f"m/{number}_manual1.png" for number in (21, 22, 30)))
        make(tmp_path, *(f"v/{number}_training_mask.png" for number in (21, 22, 30)))
        pairs = pair(tmp_path, "i", "m", view="v")
        wanted = ["i/21_training.tif", "m/21_manual1.png", "v/21_training_mask.png"]
        assert paths(tmp_path, pairs)["21_training"] == wanted
        said = [record.getMessage() for record in caplog.records]
        assert said[0] == (
            "data.masks: paired by what differs in the names, such as 21_training.tif with 21_manual1.png "
            f"(as data.images='{tmp_path}/i/*_training.tif' data.masks='{tmp_path}/m/*_manual1.png')"
        )
        assert len(said) == 2
        caplog.clear()
        assert list(pair(tmp_path, "i", "m", view="v", known=pairs.to_arrays())) == list(pairs)
        assert [record.getMessage() for record in caplog.records] == said
        words = pair(tmp_path, "i/*_training.tif", "m/*_manual1.png", view="v/*_training_mask.png")
        assert [one.files for one in words] == [one.files for one in pairs]

    @pytest.mark.parametrize(
        ("images", "masks", "words"),
        [
            (["a.png", "b.png"], ["a_mask.png", "b_mask.png"], "data.mask_suffix=_mask"),
            (["img1.png", "img02.jpg"], ["lbl1.png", "lbl02.png"], "img*.*' data.masks="),
            (["x/1a.png", "y/1a.png"], ["x/1b.png", "y/1b.png"], "1a.png with 1b.png"),
        ],
    )
    def test_what_it_tells(self, tmp_path, caplog, images, masks, words):
        make(tmp_path, *(f"i/{name}" for name in images), *(f"m/{name}" for name in masks))
        pairs = pair(tmp_path, "i", "m")
        assert {one.image.relative_to(tmp_path / "i").as_posix() for one in pairs} == set(images)
        wanted = dict(zip(images, masks, strict=True))
        assert all(
            one.mask.relative_to(tmp_path / "m").as_posix() == wanted[one.image.relative_to(tmp_path / "i").as_posix()]
            for one in pairs
        )
        assert words in caplog.text

    @pytest.mark.parametrize(
        ("images", "masks"),
        [
            (["a.png", "b.png"], ["c.png", "d.png"]),
            (["a.png"], ["b.png"]),  # nothing shows what differs
            (["1_a.png", "2_a.png"], ["1_b.png", "1_c.png", "2_b.png"]),
            (["1_a.png", "1_b.png"], ["2_a.png", "2_b.png"]),  # of another number
            (["1_a.png", "2_a.png"], ["01_b.png", "02_b.png"]),
        ],
    )
    def test_what_could_be_wrong_is_no_pair(self, tmp_path, images, masks):
        make(tmp_path, *(f"i/{name}" for name in images), *(f"m/{name}" for name in masks))
        with pytest.raises(DataError, match="no mask in"):
            pair(tmp_path, "i", "m")

    def test_names_that_fit_in_part_are_not_guessed(self, tmp_path):
        make(tmp_path, "i/1_a.png", "i/2_a.png", "m/1_a.png", "m/2_b.png")
        with pytest.raises(DataError, match=r"2_a\.png: no mask in"):
            pair(tmp_path, "i", "m")

    @given(data=st.data())
    def test_only_names_of_one_form_are_paired_and_by_what_differs(self, data):
        runs = st.sampled_from(["1", "2", "01", "10", "a", "b", "_", "-", "/"])
        names = st.lists(runs, min_size=1, max_size=4).map("".join)
        images, masks = (data.draw(st.lists(names, min_size=2, max_size=5, unique=True)) for _ in range(2))
        sides = [FakeSide(texts) for texts in (images, masks)]
        found = match_names(*sides)
        places = found.places.tolist()
        exact = [masks.index(name) if name in masks else -1 for name in images]
        if any(place >= 0 for place in exact):
            assert places == exact
            assert not found.told
            return
        if not found.told:
            assert places == exact
            return
        # One form for all images and one for all masks; what differs is the same, and is no one else's.
        assert sorted(place for place in places if place >= 0) == list(range(len(masks)))
        rests = [share_start(images), share_start([name[::-1] for name in images])[::-1]]
        mask_rests = [share_start(masks), share_start([name[::-1] for name in masks])[::-1]]
        for image, place in zip(images, places, strict=True):
            if place >= 0:
                middles = middles_of(image, rests), middles_of(masks[place], mask_rests)
                assert middles[0] & middles[1]

    @given(
        st.lists(st.from_regex(r"\A([0-9]{1,3}|[a-c]{1,3})\Z"), min_size=2, max_size=6, unique=True),
        st.tuples(*[st.sampled_from(["", "im-", "x_", "left"])] * 2),
        st.tuples(*[st.sampled_from(["_m", "-seg", ".lbl"])] * 2),
        st.randoms(),
    )
    def test_names_of_one_form_are_paired(self, keys, of_images, of_masks, random):
        """A key that letters continue is no run of its own."""
        images, masks = ([f"{before}{key}{after}" for key in keys] for before, after in (of_images, of_masks))
        shuffled = random.sample(masks, len(masks))
        found = match_names(FakeSide(images), FakeSide(shuffled))
        for image, place in zip(images, found.places.tolist(), strict=True):
            assert place == -1 or masks.index(shuffled[place]) == images.index(image)


def share_start(names):
    first = names[0]
    return next(
        first[:size] for size in range(len(first), -1, -1) if all(name.startswith(first[:size]) for name in names)
    )


def middles_of(name, ends):
    """What may be left of a name when a part of its ends is left out."""
    before, after = map(len, ends)
    return {
        name[start : len(name) - stop]
        for start in range(before + 1)
        for stop in range(after + 1)
        if start + stop <= len(name)
    }


class FakeSide(Side):
    """Names without files."""

    def __new__(cls, names):
        files = SimpleNamespace(
            is_single=False,
            spec=Spec.of("data.masks", "m"),
            places=np.arange(len(names)),
            files=SimpleNamespace(source=Source("m"), paths=Texts.of(f"{name}.png" for name in names)),
            path=lambda number: Path(f"{names[number]}.png"),
        )
        return super().__new__(cls, files, np.arange(len(names)), Texts.of(names))


class TestFolders:
    def test_a_folder_of_objects_belongs_to_the_image_in_its_folder(self, tmp_path, caplog):
        make(tmp_path, *(f"{name}/images/{name}.png" for name in ("a1", "b2")))
        make(tmp_path, *(f"{name}/masks/{part}.png" for name in ("a1", "b2") for part in range(3)))
        pairs = pair(tmp_path, "*/images/*.png", "*/masks/")
        assert paths(tmp_path, pairs) == {
            f"{name}/{name}": [f"{name}/images/{name}.png", f"{name}/masks", None] for name in ("a1", "b2")
        }
        assert "paired by the folders in the names of images, such as" in caplog.text
        caplog.clear()
        os.utime(tmp_path / "a1/masks/1.png", ns=(7, 2**62))
        changed = (pair(tmp_path, "*/images/*.png", "*/masks/").stamps != pairs.stamps).any(axis=2)
        assert np.argwhere(changed).tolist() == [[0, 1]]

    def test_a_folder_of_two_images_is_no_pair(self, tmp_path):
        make(tmp_path, "a/images/1.png", "a/images/2.png", "a/masks/1.png")
        with pytest.raises(DataError, match=r"no mask in"):
            pair(tmp_path, "*/images/*.png", "*/masks/")


LABELME = json.dumps({"version": "5.4.1", "shapes": [], "imagePath": "x.png"})


def test_annotations_in_the_folder_of_the_images_are_the_masks(tmp_path):
    make(tmp_path, "a.jpg", "b.png", "notes.txt")
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(LABELME)
    pairs = pair(tmp_path, "", "")
    assert paths(tmp_path, pairs) == {"a": ["a.jpg", "a.json", None], "b": ["b.png", "b.json", None]}
    assert list(pair(tmp_path, "", "", known=pairs.to_arrays())) == list(pairs)


class TestAnnotationsOfManyImages:
    def put(self, root, name, *entries):
        images = [{"id": number, "file_name": entry} for number, entry in enumerate(entries)]
        (root / name).write_text(json.dumps({"images": images, "annotations": [], "categories": []}))

    def test_an_image_is_known_by_the_end_of_its_path(self, tmp_path, caplog):
        make(tmp_path, "i/train/1.jpg", "i/train/2.jpg", "i/val/1.jpg")
        self.put(tmp_path, "train.json", "train/1.jpg", "2.jpg", "9.jpg")
        self.put(tmp_path, "val.json", "/far/away/val/1.jpg")
        pairs = pair(tmp_path, "i", "{train,val}.json")
        found = {one.name: (one.mask.name, one.entry) for one in pairs}
        assert found == {
            "train/1": ("train.json", "train/1.jpg"),
            "train/2": ("train.json", "2.jpg"),
            "val/1": ("val.json", "/far/away/val/1.jpg"),
        }
        assert "by the ends of paths, such as" in caplog.text
        again = Pairs.from_arrays(pairs.to_arrays())
        assert list(again) == list(pairs)
        assert list(again.take([2, 0])) == [pairs[2], pairs[0]]

    def test_images_that_are_not_listed_have_no_mask(self, tmp_path):
        make(tmp_path, "i/1.jpg", "i/2.jpg")
        self.put(tmp_path, "all.json", "2.jpg")
        with pytest.raises(DataError, match=r"i/1\.jpg: no mask in .*, where 1\.png or the like is looked for; add"):
            pair(tmp_path, "i", "all.json")
        for name, near in (("far/x_1.JPG", "such as far/x_1.JPG is listed"), ("far/1.tif", "")):
            self.put(tmp_path, "other.json", "2.jpg", name)
            with nullcontext() if not near else pytest.raises(DataError, match=f"is looked for and {near}; add"):
                pair(tmp_path, "i", "other.json")
        first, second = pair(tmp_path, "i", "all.json", missing=True)
        assert (first.mask, first.entry, second.entry) == (None, "", "2.jpg")

    def test_what_is_known_holds_until_the_annotations_change(self, tmp_path, monkeypatch):
        make(tmp_path, "i/1.jpg", "i/2.jpg")
        self.put(tmp_path, "all.json", "1.jpg", "2.jpg")
        pairs = pair(tmp_path, "i", "all.json")
        with monkeypatch.context() as patch:
            patch.setattr("unet_exp.folder.entries.list_images", None)  # they are not read again
            assert list(pair(tmp_path, "i", "all.json", known=pairs.to_arrays())) == list(pairs)
        self.put(tmp_path, "all.json", "2.jpg")
        with pytest.raises(DataError, match=r"i/1\.jpg: no mask in"):
            pair(tmp_path, "i", "all.json", known=pairs.to_arrays())

    def test_what_is_not_clear_is_refused(self, tmp_path):
        make(tmp_path, "i/a/1.jpg", "i/b/1.jpg")
        self.put(tmp_path, "all.json", "1.jpg")
        with pytest.raises(DataError, match=r"all\.json: 1\.jpg may be one of several images in data\.images="):
            pair(tmp_path, "i", "all.json")
        self.put(tmp_path, "all.json", "a/1.jpg")
        self.put(tmp_path, "more.json", "a/1.jpg", "b/1.jpg")
        with pytest.raises(DataError, match=r"i/a/1\.jpg: is annotated twice, as a/1\.jpg in .*all\.json and as"):
            pair(tmp_path, "i", "*.json")
        (tmp_path / "x.json").write_text(LABELME)
        with pytest.raises(DataError, match=r"x\.json: is for one image, and others in .* annotate many"):
            pair(tmp_path, "i", "{all,x}.json")


def test_messages_name_what_was_typed_and_the_whole_path(tmp_path):
    make(tmp_path, "i/1.png", "m/2.png", "m/3.png")
    specs = FileSpecs(
        (Spec("data.images", "i", str(tmp_path / "i")),), {"": Spec("data.masks", "m", str(tmp_path / "m"))}
    )
    with pytest.raises(DataError, match=rf"^{tmp_path}/i/1\.png: no mask in data\.masks=m \({tmp_path}/m\), where"):
        find_pairs(specs, lambda _: False)
    lost = specs._replace(images=(Spec("data.images", "x", str(tmp_path / "x")),))
    with pytest.raises(DataError, match=rf"^data\.images=x \({tmp_path}/x\): there is no such file or folder"):
        find_pairs(lost, lambda _: False)
