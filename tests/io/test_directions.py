"""Where axes of volumes lead, by what nibabel and pydicom say; and masks that lie elsewhere on the earth."""

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from own_images import load, mask
from scipy.spatial.transform import Rotation

from unet_exp.errors import DataError
from unet_exp.io.directions import NOWHERE, Directions, check_directions
from unet_exp.io.images import open_images
from unet_exp.io.scene import Reading

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def read(path):
    with open_images(path, Reading()) as images:
        return images.directions


def write(path, affine, values=VALUES, codes=(1, 1)):
    volume = nibabel.Nifti1Image(values, affine)
    volume.set_sform(affine, codes[0])
    volume.set_qform(affine, codes[1])
    nibabel.save(volume, path)
    return read(path)


def place(flips, order=(0, 1, 2)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * flips * (0.8, 0.8, 5))[:, order]
    affine[:3, 3] = 7, -8, 9
    return affine


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.sampled_from([1, -1])] * 3), st.permutations(range(3)), st.sampled_from([(1, 0), (0, 1), (2, 1)]))
def test_nifti_leads_where_nibabel_says(tmp_path_factory, flips, order, codes):
    affine = place(flips, order)
    found = write(tmp_path_factory.mktemp("volume") / "a.nii", affine, codes=codes)
    names = {"L": "left", "R": "right", "P": "back", "A": "front", "I": "feet", "S": "head"}
    assert found.describe() == ", ".join(names[code] for code in nibabel.aff2axcodes(affine))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


def test_what_says_nothing(tmp_path):
    path = tmp_path / "a.nii"
    assert write(path, place((-1, 1, 1)), codes=(0, 0)) == NOWHERE
    for signs in ((1, 1, 1, 1), (-1, -1, 1, 1)):
        assert write(path, np.diag(signs).astype(float)) == NOWHERE
    flat = write(path, place((-1, 1, 1)), VALUES[:, :, :1])
    assert flat.describe() == "left, front"
    assert flat.z is None
    assert write(path, place((1, 1, 1)), VALUES[:, :, 0]).z is None
    header = bytearray(path.read_bytes())
    header[252:256] = (1).to_bytes(2, "little") + bytes(2)  # by a quaternion alone
    header[256:268] = np.full(3, 5, "<f4").tobytes()  # longer than 1
    path.write_bytes(header)
    assert read(path) == NOWHERE


@pytest.mark.parametrize(
    ("degrees", "alike"), [(0, True), (20, True), (40, True), (80, False), (90, False), (180, False)]
)
def test_small_angles_pass(degrees, alike):
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    image, other = Directions.of(np.eye(3)), Directions.of(3 * turn.T)
    if alike:
        check_directions("m", other, "i", image)
    else:
        with pytest.raises(
            DataError,
            match=r"^m: its columns, rows and slices lead to the patient's .* its image i to the right, front, head: ",
        ):
            check_directions("m", other, "i", image)
    check_directions("m", NOWHERE, "i", image)
    check_directions("m", other, "i", NOWHERE)
    check_directions("m", Directions.of((*np.eye(3)[:2], None)), "i", image)


def put_place(path, left=400_000.0, up=-10.0, epsg=32633):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = np.array([[10, 0, 0, left], [0, up, 0, 4_900_000], [0, 0, 1, 0], [0, 0, 0, 1]])
    keys = (1, 1, 0, 1, 3072, 0, 1, epsg)
    tags = [(34264, "d", 16, place.ravel().tolist(), True), (34735, "H", len(keys), keys, True)]
    tifffile.imwrite(path, mask(), extratags=tags, metadata=None)


def test_a_mask_that_lies_elsewhere_on_the_earth_is_refused(tmp_path):
    for name in "abcd":
        put_place(tmp_path / f"images/{name}.tif")
        put_place(tmp_path / f"masks/{name}.tif", left=400_000 + 1.5 * 10)
    load(tmp_path)
    for wrong, said in (({"left": 800_000.0}, "lies elsewhere on the earth"), ({"up": 10.0}, "flipped or turned")):
        put_place(tmp_path / "masks/c.tif", **wrong)
        with pytest.raises(DataError, match=rf"^[^\n]*masks/c\.tif: [^\n]*{said}[^\n]*$"):
            load(tmp_path)
    put_place(tmp_path / "masks/c.tif", left=800_000.0, epsg=32632)  # cannot be compared
    load(tmp_path)
