"""Data sets of pictures of the eye, the skin, the bowel and the breast."""

from pathlib import Path

import cv2
import numpy as np

from replicas.files import as_json, picture, text, tiff
from replicas.photographs import MMSEG
from replicas.record import DataSet, by_label, word
from replicas.scenes import Map, draw_scene, see

OPENMEDLAB = "https://github.com/openmedlab/Awesome-Medical-Dataset/blob/main/resources"
TORCH_EM = "https://github.com/constantinpape/torch-em/blob/main/torch_em/data/datasets"
BLACK_AND_WHITE = [0, 0, 0, 255, 255, 255]
IDRID = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}


def field_of_view(height: int, width: int) -> Map:
    """A round field (height, width), 1 inside."""
    view = np.zeros((height, width), np.uint8)
    cv2.circle(view, (width // 2, height // 2), min(height, width) // 2 - 2, 1, -1)
    return view


def write_drive(root: Path) -> None:
    for part, first in (("training", 21), ("test", 1)):
        for number in range(first, first + (7 if part == "training" else 2)):
            scene = draw_scene(number, 52, 50)
            view = field_of_view(52, 50)
            tiff(root / part / "images" / f"{number:02d}_{part}.tif", see(scene.label, number) * view[..., None])
            picture(root / part / "mask" / f"{number:02d}_{part}_mask.gif", view, palette=BLACK_AND_WHITE)
            if part == "training":
                truth = scene.label * view
                picture(root / part / "1st_manual" / f"{number:02d}_manual1.gif", truth, palette=BLACK_AND_WHITE)


def write_chase_db1(root: Path) -> None:
    for number in range(1, 5):
        for place, eye in enumerate("LR"):
            scene = draw_scene(2 * number + place)
            picture(root / f"Image_{number:02d}{eye}.jpg", see(scene.label, number))
            for observer in ("1st", "2nd"):
                picture(root / f"Image_{number:02d}{eye}_{observer}HO.png", scene.label > 0)


def write_stare(root: Path) -> None:
    for number in (1, 2, 3, 4, 5, 44, 77, 81):
        scene = draw_scene(number, 40, 46)
        name = f"im{number:04d}"
        picture(root / "stare-images" / f"{name}.ppm.gz", see(scene.label, number))
        for observer in ("ah", "vk"):
            picture(root / f"labels-{observer}" / f"{name}.{observer}.ppm.gz", scene.label * np.uint8(255))


def write_idrid(root: Path) -> None:
    folder = root / "A. Segmentation"
    for part, first in (("a. Training Set", 1), ("b. Testing Set", 55)):
        for number in range(first, first + (6 if first == 1 else 2)):
            scene = draw_scene(number, classes=6, count=10)
            picture(folder / "1. Original Images" / part / f"IDRiD_{number:02d}.jpg", see(scene.label, number))
            truth = folder / "2. All Segmentation Groundtruths" / part
            for value, (short, place) in enumerate(IDRID.items(), start=1):
                if short == "SE" and number % 2:  # half of the images have no soft exudates, and then no file
                    continue
                found = (scene.label == value).astype(np.uint8)
                picture(truth / place / f"IDRiD_{number:02d}_{short}.tif", found, palette=[0, 0, 0, 255, 0, 0])


def write_kvasir_seg(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, 44 + number, 48, count=3)
        name = f"cju{number}qkwl35piu0993l0dewei{number}.jpg"
        picture(root / "Kvasir-SEG/images" / name, see(scene.label, number))
        mask = np.repeat(scene.label[..., None] * np.uint8(255), 3, axis=2)
        picture(root / "Kvasir-SEG/masks" / name, mask)
    as_json(root / "Kvasir-SEG/kavsir_bboxes.json", {})


def write_cvc_clinicdb(root: Path) -> None:
    for number in range(1, 8):
        scene = draw_scene(number, 36, 48, count=3)
        mask = cv2.GaussianBlur(scene.label * np.uint8(255), (3, 3), 0) if number == 4 else scene.label * np.uint8(255)
        tiff(root / "Original" / f"{number}.tif", see(scene.label, number))
        tiff(root / "Ground Truth" / f"{number}.tif", mask)


def write_isic2018(root: Path) -> None:
    for part, first, count in (("Training", 0, 4), ("Validation", 12255, 2), ("Test", 12169, 2)):
        for number in range(first, first + count):
            scene = draw_scene(number, 40, 44 + number % 3, count=2)
            name = f"ISIC_{number:07d}"
            images = root / f"ISIC2018_Task1-2_{part}_Input"
            picture(images / f"{name}.jpg", see(scene.label, number))
            mask = scene.label * np.uint8(255)
            picture(root / f"ISIC2018_Task1_{part}_GroundTruth" / f"{name}_segmentation.png", mask)
        text(images / "ATTRIBUTION.txt", "by the archive")
        text(images / "LICENSE.txt", "CC BY-NC 4.0")


def write_busi(root: Path) -> None:
    for kind in ("benign", "malignant", "normal"):
        for number in range(1, 5):
            scene = draw_scene(number, 40, 44, classes=4, count=0 if kind == "normal" else 3)
            path = root / "Dataset_BUSI_with_GT" / kind
            picture(path / f"{kind} ({number}).png", see((scene.label > 0).astype(np.uint8), number))
            # A mask of each tumour, of most images one for all.
            alone = number == 3 and kind == "benign"
            masks = [scene.label == value for value in (1, 2, 3)] if alone else [scene.label > 0]
            for place, mask in enumerate(masks):
                picture(path / f"{kind} ({number})_mask{f'_{place}' if place else ''}.png", mask * np.uint8(255))


SETS = (
    DataSet(
        name="drive",
        title="DRIVE, vessels of the retina",
        address="https://drive.grand-challenge.org/",
        terms="at its page; registration",
        citation="Staal et al., IEEE TMI 2004",
        sources=(f"{OPENMEDLAB}/DRIVE.md", f"{TORCH_EM}/medical/drive.py"),
        layout=(
            "training/images/21_training.tif\ntraining/1st_manual/21_manual1.gif\ntraining/mask/21_training_mask.gif\n"
            "(test has images and mask)"
        ),
        words=(
            word("data.images", "training/images/*_training.tif"),
            word("data.masks", "training/1st_manual/*_manual1.gif"),
            word("data.field_of_view", "training/mask/*_training_mask.gif"),
        ),
        write=write_drive,
        oddities=(
            "names differ beside the number: the globs say where",
            "`mask` is no mask but the field of view: nothing outside counts",
            "masks are GIF with a palette of black and white",
            "the masks of test are not published",
        ),
    ),
    DataSet(
        name="chase_db1",
        title="CHASE_DB1, vessels of the retina",
        address="https://researchdata.kingston.ac.uk/96/",
        terms="CC BY 4.0",
        citation="Fraz et al., IEEE TBME 2012",
        sources=("https://github.com/open-mmlab/mmsegmentation/blob/main/tools/dataset_converters/chase_db1.py",),
        layout="Image_01L.jpg\nImage_01L_1stHO.png\nImage_01L_2ndHO.png",
        words=(
            word("data.images", "*.jpg"),
            word("data.masks", "*_1stHO.png"),
            word("data.group", "Image_[0-9]+"),
        ),
        write=write_chase_db1,
        oddities=(
            "two observers: the glob takes the first",
            "both eyes of a child stay in one split",
            "masks of one bit count as 0 and 255",
        ),
    ),
    DataSet(
        name="stare",
        title="STARE, vessels of the retina",
        address="https://cecas.clemson.edu/~ahoover/stare/probing/",
        terms="none stated",
        citation="Hoover et al., IEEE TMI 2000",
        sources=("https://github.com/open-mmlab/mmsegmentation/blob/main/tools/dataset_converters/stare.py", MMSEG),
        layout="stare-images/im0001.ppm.gz\nlabels-ah/im0001.ah.ppm.gz\nlabels-vk/im0001.vk.ppm.gz",
        words=(
            word("data.images", "stare-images/*.ppm.gz"),
            word("data.masks", "labels-ah/*.ah.ppm.gz"),
        ),
        write=write_stare,
        oddities=(
            "every picture is packed by itself: it is read as it is",
            "two observers: ah is the first",
            "if `check_data.py` finds greys in masks, `data.inexact=threshold`",
        ),
    ),
    DataSet(
        name="idrid",
        title="IDRiD, lesions of the retina",
        address="https://idrid.grand-challenge.org/Data/",
        terms="CC BY 4.0",
        citation="Porwal et al., Medical Image Analysis 2020",
        sources=("https://idrid.grand-challenge.org/Data/", f"{TORCH_EM}/medical/idrid.py"),
        layout=(
            "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg\n"
            "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif\n"
            "(likewise 2. Haemorrhages/..._HE, 3. Hard Exudates/..._EX, 4. Soft Exudates/..._SE, 5. Optic Disc/..._OD)"
        ),
        words=(
            word("data.images", "A. Segmentation/1. Original Images/a. Training Set/*.jpg"),
            by_label(
                "data.masks",
                **{
                    place[3:].lower().replace(" ", "_"): (
                        f"A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/{place}/*_{short}.tif"
                    )
                    for short, place in reversed(IDRID.items())
                },
            ),
        ),
        write=write_idrid,
        oddities=(
            "one file a class: what is not 0 is of the class, and later classes lie over earlier ones, so the small "
            "lesions are last",
            "an image without soft exudates has no file of them: it has none",
            "masks have a palette of black and red",
        ),
    ),
    DataSet(
        name="kvasir_seg",
        title="Kvasir-SEG, polyps",
        address="https://datasets.simula.no/kvasir-seg/",
        terms="research and education",
        citation="Jha et al., MMM 2020",
        sources=("https://datasets.simula.no/kvasir-seg/", f"{TORCH_EM}/medical/kvasir.py"),
        layout="Kvasir-SEG/images/cju0qkwl35piu0993l0dewei2.jpg\nKvasir-SEG/masks/cju0qkwl35piu0993l0dewei2.jpg",
        words=(
            word("data.images", "Kvasir-SEG/images"),
            word("data.masks", "Kvasir-SEG/masks"),
            word("data.inexact", "threshold"),
        ),
        write=write_kvasir_seg,
        oddities=(
            "masks are JPEG with three channels: pixels of at least half of white are polyp, and their share is told",
        ),
    ),
    DataSet(
        name="cvc_clinicdb",
        title="CVC-ClinicDB, polyps",
        address="https://polyp.grand-challenge.org/CVCClinicDB/",
        terms="at its page",
        citation="Bernal et al., Computerized Medical Imaging and Graphics 2015",
        sources=(f"{OPENMEDLAB}/CVC-ClinicDB.md",),
        layout="Original/1.tif\nGround Truth/1.tif",
        words=(
            word("data.images", "Original"),
            word("data.masks", "Ground Truth"),
            word("data.inexact", "threshold"),
        ),
        write=write_cvc_clinicdb,
        oddities=(
            "a folder has a space in its name: quotes",
            "copies of the set go round whose masks were resized smoothly: `data.inexact=threshold` reads those too, "
            "and changes nothing where masks are exact",
            "neighbouring numbers are frames of one video: the blocks of `data.split=fractions`, the default, tear at "
            "most two of them",
        ),
    ),
    DataSet(
        name="isic2018",
        title="ISIC 2018, lesions of the skin",
        address="https://challenge.isic-archive.com/data/#2018",
        terms="CC BY-NC 4.0",
        citation="Codella et al., arXiv:1902.03368; Tschandl et al., Scientific Data 2018",
        sources=("https://challenge.isic-archive.com/data/#2018", f"{TORCH_EM}/medical/isic.py"),
        layout=(
            "ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg\n"
            "ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png\n(likewise Validation and Test)"
        ),
        words=(
            word("data.images", "ISIC2018_Task1-2_{Training,Validation,Test}_Input/*.jpg"),
            word("data.masks", "ISIC2018_Task1_{Training,Validation,Test}_GroundTruth/*_segmentation.png"),
            word("data.split", "folders"),
        ),
        write=write_isic2018,
        oddities=(
            "`Training`, `Validation` and `Test` are parts of the folders' names: the braces make them the split",
            "ATTRIBUTION.txt and LICENSE.txt lie among the images: passed over",
        ),
    ),
    DataSet(
        name="busi",
        title="BUSI, ultrasound of the breast",
        address="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        terms="at its page",
        citation="Al-Dhabyani et al., Data in Brief 2020",
        sources=(f"{OPENMEDLAB}/BUSI.md", f"{TORCH_EM}/medical/busi.py"),
        layout=(
            "Dataset_BUSI_with_GT/benign/benign (1).png\nDataset_BUSI_with_GT/benign/benign (1)_mask.png\n"
            "Dataset_BUSI_with_GT/benign/benign (100)_mask_1.png\n(likewise malignant and normal)"
        ),
        words=(
            word("data.images", "Dataset_BUSI_with_GT/*/*).png"),
            by_label(
                "data.masks",
                tumour="Dataset_BUSI_with_GT/*/*)_mask.png",
                second="Dataset_BUSI_with_GT/*/*)_mask_1.png",
                third="Dataset_BUSI_with_GT/*/*)_mask_2.png",
            ),
            "data.classes=[{name: background, value: 0}, {name: tumour, value: tumour, also: [second, third]}]",
            word("data.group", "image"),
        ),
        write=write_busi,
        oddities=(
            "images, first masks and masks of further tumours lie in one folder: three globs, of one class by `also`",
            "an image of `normal` has a black mask: it is all background",
            "the set does not say which images are of one patient",
        ),
    ),
)
