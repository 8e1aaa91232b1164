"""Data sets of light and electron microscopy."""

from pathlib import Path

import cv2
import numpy as np

from replicas.files import Array, as_json, flatten, hdf5, picture, polygons, text, tiff
from replicas.medical import TORCH_EM
from replicas.record import DataSet, label_classes, word
from replicas.scenes import draw_scene, draw_volume, see

INSTANCES = word("data.labels", "instances")
WHITE = np.uint8(255)


def write_dsb2018(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, 40 + 8 * (number % 2), 48)
        name = f"{number:02x}" * 32
        image = see(scene.label, number)
        if number != 3:  # most are fluorescence, which shows greys
            image = np.repeat(image[..., :1], 3, axis=2)
        opaque = np.full((*scene.label.shape, 1), 255, np.uint8)
        folder = root / "stage1_train" / name
        picture(folder / "images" / f"{name}.png", np.concatenate([image, opaque], axis=2))
        for value in np.unique(scene.objects)[1:]:
            mask = (scene.objects == value) * WHITE
            picture(folder / "masks" / f"{number:02x}{value:02x}{'ab' * 30}.png", mask)
    text(root / "stage1_train_labels.csv", "ImageId,EncodedPixels")


def write_stardist(root: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for number in range(count):
            scene = draw_scene(number)
            image = see(scene.label, number, channels=0)
            tiff(root / "dsb2018" / part / "images" / f"{number:016x}.tif", image)
            tiff(root / "dsb2018" / part / "masks" / f"{number:016x}.tif", scene.objects.astype(np.uint16))


def write_bbbc039(root: Path) -> None:
    lists: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    for number in range(8):
        scene = draw_scene(number)
        name = f"IXMtest_A{number + 1:02d}_s{1 + number % 9}_w1051DAA7C-7042-435F-99F0-1E847D9B42CB"
        tiff(root / "images" / f"{name}.tif", see(scene.label, number, channels=0, high=4000, dtype=np.uint16))
        mask = np.zeros((*scene.label.shape, 4), np.uint8)
        mask[..., 0], mask[..., 3] = scene.objects, 255
        picture(root / "masks" / f"{name}.png", mask)
        lists[("training", "validation", "test")[max(0, number - 5)]].append(f"{name}.png")
    for part, names in lists.items():
        text(root / "metadata" / f"{part}.txt", *names)


def write_livecell(root: Path) -> None:
    for part, kind, first in (("train", "train_val", 0), ("val", "train_val", 4), ("test", "test", 6)):
        images, annotations = [], []
        for number in range(first, first + (4 if part == "train" else 2)):
            scene = draw_scene(number, 44, 52)
            cells = ("A172", "BT474", "SkBr3")[number % 3]
            name = f"{cells}_Phase_A{number // 2 + 1}_1_00d{4 * (number % 2):02d}h00m_1.tif"
            tiff(root / "images" / f"livecell_{kind}_images" / name, see(scene.label, number, channels=0))
            images.append({"id": 100 + number, "file_name": name, "height": 44, "width": 52})
            annotations += [
                {"id": 1000 * number + place_, "image_id": 100 + number, "category_id": 1, "iscrowd": 0, "area": 1,
                 "segmentation": [flatten(polygon)], "bbox": [0, 0, 1, 1]}
                for place_, polygon in enumerate(polygons(scene.objects))
            ]  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        as_json(root / "annotations/LIVECell" / f"livecell_coco_{part}.json", content)


def write_cellpose(root: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for number in range(count):
            scene = draw_scene(number, 40, 40 + number)
            picture(root / part / f"{number:03d}_img.png", see(scene.label, number))
            picture(root / part / f"{number:03d}_masks.png", scene.objects.astype(np.uint16))
    saved: Array = np.array({"masks": scene.objects}, object)  # as the GUI saves
    np.save(root / "train/000_img_seg.npy", saved, allow_pickle=True)


def write_cell_tracking(root: Path) -> None:
    for video in ("01", "02"):
        for number in range(5):
            scene = draw_scene(10 * int(video) + number)
            tiff(root / "Fluo-N2DH-GOWT1" / video / f"t{number:03d}.tif", see(scene.label, number, channels=0))
            truth = root / "Fluo-N2DH-GOWT1" / f"{video}_GT"
            if number != 1:  # not every frame has a mask
                tiff(truth / "SEG" / f"man_seg{number:03d}.tif", scene.objects.astype(np.uint16))
            tiff(truth / "TRA" / f"man_track{number:03d}.tif", scene.objects.astype(np.uint16))


def write_isbi2012(root: Path) -> None:
    for part, count in (("train", 30), ("test", 30)):
        label = np.stack([draw_scene(number, 32, 32).label for number in range(count)])
        tiff(root / f"{part}-volume.tif", see(label, count, channels=0))
        if part == "train":
            tiff(root / "train-labels.tif", (1 - label) * WHITE)


def write_mitochondria(root: Path) -> None:
    for part, seed in (("training", 0), ("testing", 1)):
        label = draw_volume(seed, 10, 36, 44)
        tiff(root / f"{part}.tif", see(label, seed, channels=0))
        tiff(root / f"{part}_groundtruth.tif", label * WHITE)


def write_cremi(root: Path) -> None:
    for number, sample in enumerate("ABC"):
        objects = draw_scene(number, 40, 40).objects
        near = np.ones((3, 3), np.uint8)
        membranes = (cv2.dilate(objects, near) != cv2.erode(objects, near)).astype(np.uint8)
        neurons = np.stack([objects + np.uint64(7)] * 4)
        arrays = {
            "volumes/raw": see(np.stack([membranes] * 4), number, channels=0),
            "volumes/labels/neuron_ids": neurons,
            "volumes/labels/clefts": np.full(neurons.shape, np.iinfo(np.uint64).max),
        }
        resolution = {"resolution": [40.0, 4.0, 4.0]}
        hdf5(root / f"sample_{sample}_20160501.hdf", arrays, dict.fromkeys(arrays, resolution))


SETS = (
    DataSet(
        name="dsb2018",
        title="Data Science Bowl 2018 (BBBC038), nuclei",
        address="https://bbbc.broadinstitute.org/BBBC038",
        terms="CC0",
        citation="Caicedo et al., Nature Methods 2019",
        sources=(
            "https://github.com/ace19-dev/2018-Data-Science-Bowl (data_description.md)",
            f"{TORCH_EM}/light_microscopy/dsb.py",
        ),
        layout="stage1_train/<id>/images/<id>.png\nstage1_train/<id>/masks/<a file a nucleus>.png",
        words=(
            word("data.images", "stage1_train/*/images/*.png"),
            word("data.masks", "stage1_train/*/masks/"),
            INSTANCES,
        ),
        write=write_dsb2018,
        oddities=(
            "a mask is a folder with a file an object: the glob ends in `/`",
            "images are RGBA with an alpha that is opaque: it is dropped",
            "nuclei that touch get a line of background between them",
        ),
    ),
    DataSet(
        name="stardist",
        title="StarDist's part of DSB 2018",
        address="https://github.com/stardist/stardist/releases/download/0.1.0/dsb2018.zip",
        terms="as DSB 2018: CC0",
        citation="Schmidt et al., MICCAI 2018",
        sources=(f"{TORCH_EM}/light_microscopy/dsb.py", "https://github.com/stardist/stardist (examples/2D)"),
        layout="dsb2018/train/images/<id>.tif\ndsb2018/train/masks/<id>.tif\n(likewise test)",
        words=(
            word("data.images", "dsb2018/train/images"),
            word("data.masks", "dsb2018/train/masks"),
            INSTANCES,
        ),
        write=write_stardist,
        oddities=("masks number the objects", "there is no val: train is divided; `predict.py` takes `test/images`"),
    ),
    DataSet(
        name="bbbc039",
        title="BBBC039, nuclei",
        address="https://bbbc.broadinstitute.org/BBBC039",
        terms="CC0",
        citation="Ljosa et al., Nature Methods 2012; Caicedo et al., Cytometry A 2019",
        sources=(
            "https://bbbc.broadinstitute.org/BBBC039, as quoted in "
            "https://github.com/chedlisilini/Cell-Segmentation (README.md)",
        ),
        layout=(
            "images/IXMtest_A02_s1_w1....tif\nmasks/IXMtest_A02_s1_w1....png\n"
            "metadata/training.txt, validation.txt, test.txt"
        ),
        words=(
            word("data.images", "images"),
            word("data.masks", "masks"),
            INSTANCES,
            word("data.split", "lists"),
            word("data.lists", "metadata"),
        ),
        write=write_bbbc039,
        oddities=(
            "lists are `training.txt` and `validation.txt`, and name `.png` where images are `.tif`",
            "colours number the nuclei; two that do not touch may share one: pixel classes are right, and `test/seg` "
            "counts them as one object",
        ),
    ),
    DataSet(
        name="livecell",
        title="LIVECell, cells in phase contrast",
        address="https://sartorius-research.github.io/LIVECell/",
        terms="CC BY-NC 4.0",
        citation="Edlund et al., Nature Methods 2021",
        sources=("https://github.com/sartorius-research/LIVECell", f"{TORCH_EM}/light_microscopy/livecell.py"),
        layout=(
            "images/livecell_train_val_images/A172_Phase_A7_1_00d00h00m_1.tif\nimages/livecell_test_images/...\n"
            "annotations/LIVECell/livecell_coco_train.json, livecell_coco_val.json, livecell_coco_test.json"
        ),
        words=(
            word("data.images", "images/livecell_train_val_images"),
            word("data.masks", "annotations/LIVECell/livecell_coco_{train,val}.json"),
            INSTANCES,
            label_classes("cell"),
            word("data.group", "^[A-Za-z0-9]+_Phase_[A-H][0-9]+"),
        ),
        write=write_livecell,
        oddities=(
            "train and val lie in one folder and two files of COCO: both are read, and images divided by wells",
            "hundreds of MB of JSON are read once",
        ),
    ),
    DataSet(
        name="cellpose",
        title="Cellpose, its data set and what its GUI saves",
        address="https://www.cellpose.org/dataset",
        terms="CC BY-NC 4.0",
        citation="Stringer et al., Nature Methods 2021",
        sources=(f"{TORCH_EM}/light_microscopy/cellpose.py", "https://cellpose.readthedocs.io/en/latest/outputs.html"),
        layout="train/000_img.png\ntrain/000_masks.png\n(likewise test; the GUI adds 000_img_seg.npy)",
        words=(
            word("data.images", "train/*_img.png"),
            word("data.masks", "train/*_masks.png"),
            INSTANCES,
        ),
        write=write_cellpose,
        oddities=(
            "masks number the cells, with 16 bits",
            "`_seg.npy` is a pickle, which could run code: it is not read. Save masks as PNG or TIFF in the GUI (File) "
            "or by `cellpose --save_png`, and type `data.masks='*_cp_masks.png'`",
        ),
    ),
    DataSet(
        name="cell_tracking",
        title="Cell Tracking Challenge, any 2D set",
        address="https://celltrackingchallenge.net/2d-datasets/",
        terms="at its page",
        citation="Ulman et al., Nature Methods 2017; Maska et al., Nature Methods 2023",
        sources=("https://celltrackingchallenge.net/datasets/", f"{TORCH_EM}/light_microscopy/ctc.py"),
        layout=(
            "Fluo-N2DH-GOWT1/01/t000.tif\nFluo-N2DH-GOWT1/01_GT/SEG/man_seg000.tif\n"
            "Fluo-N2DH-GOWT1/01_GT/TRA/man_track000.tif\n(likewise 02)"
        ),
        words=(
            word("data.images", "Fluo-N2DH-GOWT1/[0-9][0-9]/t*.tif"),
            word("data.masks", "Fluo-N2DH-GOWT1/[0-9][0-9]_GT/SEG/man_seg*.tif"),
            INSTANCES,
            word("data.without_mask", "unlabelled"),
        ),
        write=write_cell_tracking,
        oddities=(
            "few frames have a mask in SEG: the others count as unlabelled",
            "`data=phc_u373` and `data=dic_hela` load two of these sets by themselves",
            "`data.group=folder` keeps a video in one split; with two videos there is then no test, `data.test=0`",
        ),
    ),
    DataSet(
        name="isbi2012",
        title="ISBI 2012, membranes in electron microscopy",
        address="https://imagej.net/events/isbi-2012-segmentation-challenge",
        terms="for research, with a citation",
        citation="Arganda-Carreras et al., Frontiers in Neuroanatomy 2015",
        sources=("the real slices, with which this project is tested",),
        layout="train-volume.tif\ntrain-labels.tif\ntest-volume.tif\n(or train/image/0.png, train/label/0.png, "
        "test/image/0.png ...)",
        words=(word("data", "isbi2012"),),
        write=write_isbi2012,
        recipe="experiment=small",
        oddities=(
            "0 is membrane, 255 cell",
            "slices 24-29 are the test, because the labels of test-volume.tif are not published",
        ),
    ),
    DataSet(
        name="mitochondria",
        title="EPFL mitochondria (Lucchi), CA1 hippocampus",
        address="https://www.epfl.ch/labs/cvlab/data/data-em/",
        terms="at its page",
        citation="Lucchi et al., IEEE TMI 2012",
        sources=("https://www.epfl.ch/labs/cvlab/data/data-em/",),
        layout="training.tif\ntraining_groundtruth.tif\ntesting.tif\ntesting_groundtruth.tif",
        words=(
            word("data.images", "training.tif"),
            word("data.masks", "training_groundtruth.tif"),
            word("data.group", "image"),
        ),
        write=write_mitochondria,
        oddities=(
            "one stack: `data.group=image` divides its slices, in blocks",
            "`predict.py input=testing.tif` and a comparison with testing_groundtruth.tif are the test of papers",
        ),
    ),
    DataSet(
        name="cremi",
        title="CREMI, neurons in electron microscopy",
        address="https://cremi.org/data/",
        terms="none stated",
        citation="CREMI, MICCAI challenge 2016",
        sources=(f"{TORCH_EM}/electron_microscopy/cremi.py",),
        layout="sample_A_20160501.hdf (volumes/raw, volumes/labels/neuron_ids, volumes/labels/clefts)\n"
        "sample_B_20160501.hdf\nsample_C_20160501.hdf",
        words=(
            word("data.images", "sample_*.hdf/volumes/raw"),
            word("data.masks", "sample_*.hdf/volumes/labels/neuron_ids"),
            INSTANCES,
        ),
        write=write_cremi,
        oddities=(
            "the path goes on inside the file",
            "every pixel is in a neuron, with a number of 64 bits: the background is the line between neurons",
        ),
    ),
)
