"""Volumes as stacks of slices along each axis, from training to predicted masks."""

import nibabel
import numpy as np
import pytest
from own_images import load
from replicas.files import dicom

import unet_exp
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import RunFolder

RNG = np.random.default_rng(5)
SHAPE = (20, 6, 24)
"""Of each volume: i, j and k."""
AFFINE = np.array([[-0.8, 0, 0, 7], [0, 0.8, 0, 8], [0, 0, 5, 9], [0, 0, 0, 1.0]])
SMALL = ["experiment=own", "model.depth=2", "model.width=4", "trainer.max_steps=2", "logger=csv", "metrics.pictures=1"]


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))


def nifti(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def blob():
    """A mask: an ellipsoid in a volume."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    return np.uint8(sum(axis**2 for axis in axes) < 0.7)


def put(root, number=3):
    """Volumes and their masks; returns them."""
    volumes = []
    for name in range(number):
        mask = np.roll(blob(), name, axis=0)
        image = (1000 * mask.astype(int) + RNG.integers(0, 200, SHAPE)).astype(np.uint16)
        nifti(root / f"images/v{name}.nii.gz", image)
        nifti(root / f"masks/v{name}.nii.gz", mask)
        volumes.append((image, mask))
    return volumes


WORDS = ["data.classes=[{name: ground, value: 0}, {name: organ, value: 1}]", "data.tile=16"]


def parts(dataset):
    return sorted([*dataset.train, *dataset.val, *dataset.test], key=lambda sample: sample.name)


def test_one_volume_a_class(tmp_path):
    volumes = put(tmp_path)
    for name, (_, mask) in enumerate(volumes):
        (tmp_path / f"masks/v{name}.nii.gz").unlink()
        lesion = np.roll(mask, 2, axis=2) & mask
        nifti(tmp_path / f"masks/v{name}_label-organ.nii.gz", mask)
        nifti(tmp_path / f"masks/v{name}_label-lesion.nii.gz", 7 * lesion)
    masks = ", ".join(f'{label}: "{tmp_path}/masks/*_label-{label}.nii.gz"' for label in ("organ", "lesion"))
    dataset = load(tmp_path, f"data.images={tmp_path}/images/*.nii.gz", f"data.masks={{{masks}}}", "data.tile=16")
    assert [spec.name for spec in dataset.classes] == ["background", "organ", "lesion"]
    samples = parts(dataset)
    assert len(samples) == 3 * SHAPE[2]
    for place, sample in enumerate(samples):
        mask = volumes[place // SHAPE[2]][1]
        wanted = (mask + (np.roll(mask, 2, axis=2) & mask))[:, :, place % SHAPE[2]].T
        assert np.array_equal(sample.label, wanted)
    nifti(tmp_path / "masks/v1_label-lesion.nii.gz", volumes[1][1][:, :, :5])
    with pytest.raises(DataError, match=r"v1_label-lesion.nii.gz: has 5 pages and its image .*v1.nii.gz has 24 pages"):
        load(tmp_path, f"data.images={tmp_path}/images/*.nii.gz", f"data.masks={{{masks}}}")
    nifti(tmp_path / "masks/v1_label-lesion.nii.gz", volumes[1][1], AFFINE @ np.diag([1, -1, 1, 1]))
    with pytest.raises(DataError, match=r"v1_label-lesion.nii.gz: .*v1.nii.gz"):
        load(tmp_path, f"data.images={tmp_path}/images/*.nii.gz", f"data.masks={{{masks}}}")


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_slices_lie_along_the_wanted_axis(tmp_path, cache):
    volumes = put(tmp_path)
    for axis, place in (("z", 2), ("y", 1), ("x", 0)):  # what is known along one axis is not of another
        samples = parts(load(tmp_path, *WORDS, f"data.slice_axis={axis}", f"data.cache={cache}"))
        count = SHAPE[place]
        assert len(samples) == count * len(volumes)
        for number, sample in enumerate(samples):
            image, mask = (np.take(values, number % count, place).T for values in volumes[number // count])
            np.testing.assert_array_equal(sample.image[..., 0], image)
            np.testing.assert_array_equal(sample.label, mask)


def test_fields_of_view_and_files_of_a_class_lie_so_too(tmp_path):
    view = np.ones((20, 1, 24), np.uint8)
    view[:, :, :3] = 0
    for name in range(4):
        nifti(tmp_path / f"images/v{name}.nii", RNG.integers(0, 200, view.shape).astype(np.uint8))
        nifti(tmp_path / f"view/v{name}.nii", view)
        nifti(tmp_path / f"a/v{name}.nii", np.roll(view, 5, axis=2))
    words = ["data.slice_axis=y", f"data.field_of_view={tmp_path}/view", f"data.masks={{organ: {tmp_path}/a}}"]
    sample = parts(load(tmp_path, *words))[0]
    np.testing.assert_array_equal(sample.valid, view[:, 0].T > 0)
    np.testing.assert_array_equal(sample.label[sample.valid], np.roll(view, 5, axis=2)[:, 0].T[sample.valid])


def test_the_axes_of_arrays_are_those_of_the_config(tmp_path):
    volumes = put(tmp_path)
    for number, (image, mask) in enumerate(volumes):
        for folder, values in (("images", image), ("masks", mask)):
            (tmp_path / folder / f"v{number}.nii.gz").unlink()
            np.save(tmp_path / folder / f"v{number}.npy", values)
    for axis, place in (("z", 2), ("y", 1)):
        samples = parts(load(tmp_path, *WORDS, "data.axes=xyz", f"data.slice_axis={axis}"))
        assert len(samples) == SHAPE[place] * len(volumes)
        np.testing.assert_array_equal(samples[3].image[..., 0], np.take(volumes[0][0], 3, place).T)
        np.testing.assert_array_equal(samples[3].label, np.take(volumes[0][1], 3, place).T)


@pytest.mark.slow
def test_masks_are_predicted_along_the_axis_of_the_training(tmp_path, cli):
    volumes = put(tmp_path)
    trained = cli("train", *SMALL, f"data.root={tmp_path}", "data.images=images", "data.masks=masks", *WORDS,
                  "data.slice_axis=y")  # fmt: skip
    assert trained.code == 0, trained.err
    words = [f"checkpoint={RunFolder(trained.folder).best}", f"input={tmp_path}/images/v1.nii.gz", "instances=true"]

    def predict(output, *more):
        said = cli("predict", *words, f"output={output}", *more)
        assert said.code == 0, said.err
        return {path.name.removeprefix("v1_"): path for path in (tmp_path / output).iterdir()}

    found, along_z = predict("own"), predict("z", "data.slice_axis=z")
    for files in (found, along_z):
        for what in ("mask", "instances"):
            volume = nibabel.load(files[f"{what}.nii.gz"])
            assert volume.shape == SHAPE
            np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    predictor = unet_exp.load(trained.folder, "cpu")
    for files, place in ((found, 1), (along_z, 2)):
        mask = np.asarray(nibabel.load(files["mask.nii.gz"]).dataobj)
        for number in range(SHAPE[place]):
            expected = predictor.predict(np.ascontiguousarray(np.take(volumes[1][0], number, place).T)[..., None])
            np.testing.assert_array_equal(np.take(mask, number, place).T, expected)
    np.save(tmp_path / "a.npy", volumes[1][0])
    words[1] = f"input={tmp_path}/a.npy"
    pages = predict("array", "data.axes=xyz", "instances=false", "probabilities=true")
    assert sorted(pages) == ["a_mask.tif", "a_preview.tif", "a_probabilities.tif"]
    refused = cli("predict", *words, "data.axes=xx", "output=none")
    assert refused.code == 2
    assert "data.axes='xx': must be letters among t, c, z, y and x" in refused.err


def turn(path, flips):
    """Flips a mask and says so in its affine, as converters do: the same place in the patient."""
    volume = nibabel.load(path)
    nibabel.save(volume.as_reoriented([[axis, flip] for axis, flip in enumerate(flips)]), path)


def test_a_mask_that_lies_otherwise_is_refused(tmp_path):
    put(tmp_path)
    load(tmp_path, *WORDS)
    turn(tmp_path / "masks/v2.nii.gz", (1, -1, 1))
    with pytest.raises(
        DataError, match=r"masks/v2\.nii\.gz: .* lead to the patient's left, back, head.*images/v2\.nii\.gz"
    ) as caught:
        load(tmp_path, *WORDS)
    assert "\n" not in str(caught.value)
    nifti(tmp_path / "masks/v2.nii.gz", blob(), np.eye(4))  # says nothing
    load(tmp_path, *WORDS)


def test_a_mask_of_a_series_that_dcm2niix_would_flip(tmp_path):
    volume = blob().T
    for name in range(3):
        for place, plane in enumerate(volume[8:16]):
            dicom(
                tmp_path / f"images/{name}/{place}",
                100 * plane.astype(np.uint16),
                place + 1,
                f"1.2.{name + 1}",
                5.0 * place,
            )
        nifti(tmp_path / f"masks/{name}.nii", blob()[:, :, 8:16], AFFINE @ np.diag([1, -1, 1, 1]))
    words = [f"data.images='{tmp_path}/images/*/'", *WORDS]
    with pytest.raises(DataError, match=r"images/0: is a folder, .* one file an object .*; save the slices .* NIfTI"):
        load(tmp_path, *WORDS, f"data.images='{tmp_path}/masks/*.nii'", f"data.masks='{tmp_path}/images/*/'")
    np.testing.assert_array_equal(parts(load(tmp_path, *words))[3].label, volume[11])
    for name in range(3):
        turn(tmp_path / f"masks/{name}.nii", (1, -1, 1))
    with pytest.raises(DataError, match=r"the patient's left, front, head, and .*images/\d to the left, back, head"):
        load(tmp_path, *words)


@pytest.mark.parametrize(
    ("image", "mask", "suffix", "said"),
    [
        ((5, 24, 32), (5, 24, 32), "npy", r"32 channels; .* if it is an array of slices, type data\.axes=zyx$"),
        (
            (5, 24, 32),
            (24, 32),
            "npz",
            r"5 pages .* are not zyx, say in data\.axes what they are, .* cyx \(channels\)$",
        ),
        (
            (3, 24, 32),
            (1, 24, 32),
            "npy",
            r"save both in one size, or, if the axes of an array are not yxc, say in data",
        ),
        ((24, 32), (24, 30), "npy", r"save both in one size$"),
    ],
)
def test_what_the_axes_are_is_asked_for_where_they_are_guessed(tmp_path, image, mask, suffix, said):
    for place, shape in (("images", image), ("masks", mask)):
        (tmp_path / place).mkdir()
        (np.savez if suffix == "npz" else np.save)(tmp_path / place / f"a.{suffix}", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=said):
        load(tmp_path, *WORDS)
