"""Data sets of volumes, which are stacks of slices here."""

from pathlib import Path
from typing import Any

import numpy as np

from replicas.files import as_json, dicom, hdf5, nifti, picture, place, text
from replicas.medical import OPENMEDLAB, TORCH_EM
from replicas.record import DataSet, classes, several, word
from replicas.scenes import Map, draw_volume, see

BRATS = ("flair", "t1", "t1ce", "t2")
SYNAPSE = (
    "background", "aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"
)  # fmt: skip


def scan(label: Map, seed: int, dtype: Any = np.int16) -> Any:
    """A scan of a volume of classes, one channel."""
    return see(label, seed, channels=0, high=1200, dtype=dtype)


def write_brats2020(root: Path) -> None:
    for number in (1, 2, 3, 4, 355):
        label = draw_volume(number, 4, 40, 40, classes=4)
        case = f"BraTS20_Training_{number:03d}"
        folder = root / "MICCAI_BraTS2020_TrainingData" / case
        for channel, kind in enumerate(BRATS):
            nifti(folder / f"{case}_{kind}.nii", scan(label, 10 * number + channel), flips=(-1, -1, 1))
        name = "W39_1998.09.19_Segm.nii" if number == 355 else f"{case}_seg.nii"
        nifti(folder / name, np.array([0, 1, 2, 4], np.uint8)[label], flips=(-1, -1, 1))
    text(root / "MICCAI_BraTS2020_TrainingData/survival_info.csv", "Brats20ID,Age,Survival_days,Extent_of_Resection")


def write_acdc(root: Path) -> None:
    for part, first, count in (("training", 1, 4), ("testing", 101, 2)):
        for number in range(first, first + count):
            patient = f"patient{number:03d}"
            folder = root / "database" / part / patient
            cycle = []
            for frame in (1, 12):
                label = draw_volume(10 * number + frame, 3, 40, 36 + 2 * (number % 3), classes=4)
                cycle.append(scan(label, frame))
                name = f"{patient}_frame{frame:02d}"
                nifti(folder / f"{name}.nii.gz", cycle[-1], spacing=(1.5, 1.5, 10))
                nifti(folder / f"{name}_gt.nii.gz", label, spacing=(1.5, 1.5, 10))
            nifti(folder / f"{patient}_4d.nii.gz", np.stack(cycle, axis=-1), spacing=(1.5, 1.5, 10))
            text(folder / "Info.cfg", "ED: 1", "ES: 12", "Group: NOR")


def write_synapse(root: Path) -> None:
    for case in (5, 6, 7, 9):
        label = draw_volume(case, 3, 32, 32, classes=9)
        image = see(label, case, channels=0, high=1, dtype=np.float32)
        for number in range(len(label)):
            path = place(root / "train_npz" / f"case{case:04d}_slice{number:03d}.npz")
            np.savez(path, image=image[number], label=label[number].astype(np.float32))
    hdf5(root / "test_vol_h5/case0001.npy.h5", {"image": image, "label": label.astype(np.float32)})


def write_msd_brain(root: Path) -> None:
    for number in range(1, 6):
        label = draw_volume(number, 3, 40, 36, classes=4)
        image = see(label, number, channels=4, high=1200, dtype=np.float32)
        name = f"BRATS_{number:03d}.nii.gz"
        nifti(root / "Task01_BrainTumour/imagesTr" / name, image)
        nifti(root / "Task01_BrainTumour/labelsTr" / name, label)
        for folder in ("imagesTr", "labelsTr"):
            place(root / "Task01_BrainTumour" / folder / f"._{name}").write_bytes(b"\0\5\26\7Mac OS X")
    as_json(root / "Task01_BrainTumour/dataset.json", {"labels": {"0": "background", "1": "edema"}})


def write_nnunet(root: Path) -> None:
    folder = root / "nnUNet_raw/Dataset005_Prostate"
    for number in (0, 1, 2, 4, 6):
        label = draw_volume(number, 3, 36, 36, classes=3)
        for channel in (0, 1):
            nifti(
                folder / "imagesTr" / f"prostate_{number:02d}_{channel:04d}.nii.gz", scan(label, 2 * number + channel)
            )
        nifti(folder / "labelsTr" / f"prostate_{number:02d}.nii.gz", label)
    labels = {"background": 0, "PZ": 1, "TZ": 2}
    as_json(folder / "dataset.json", {"channel_names": {"0": "T2", "1": "ADC"}, "labels": labels, "numTraining": 5})


def write_isles2022(root: Path) -> None:
    for number in range(1, 7):
        case = f"sub-strokecase{number:04d}"
        name = f"{case}_ses-0001"
        label = draw_volume(number, 3, 32, 32 + 4 * (number % 2))
        scans = root / "ISLES-2022" / case / "ses-0001"
        for seed, kind in enumerate(("dwi", "adc")):
            nifti(scans / "dwi" / f"{name}_{kind}.nii.gz", scan(label, 2 * number + seed, np.float32))
            as_json(scans / "dwi" / f"{name}_{kind}.json", {"Modality": "MR"})
        nifti(scans / "anat" / f"{name}_FLAIR.nii.gz", scan(draw_volume(number, 5, 48, 48), number))
        nifti(root / "ISLES-2022/derivatives" / case / "ses-0001" / f"{name}_msk.nii.gz", label)
    text(root / "ISLES-2022/participants.tsv", "participant_id")


def write_chaos_mr(root: Path) -> None:
    values = np.array([0, 63, 126, 189, 252], np.uint8)
    for patient in (1, 2, 3, 5):
        label = draw_volume(patient, 3, 40, 40, classes=5)
        folder = root / "Train_Sets/MR" / str(patient) / "T2SPIR"
        for number, one in enumerate(label, start=1):
            name = f"IMG-{patient:04d}-{number:05d}"
            path = folder / "DICOM_anon" / f"{name}.dcm"
            dicom(path, scan(one, number, np.uint16), number, f"1.2.826.0.1.{patient}", position=7.0 * number)
            picture(folder / "Ground" / f"{name}.png", values[one])


def write_itksnap(root: Path) -> None:
    for patient in range(1, 6):
        label = draw_volume(patient, 4, 36, 36, classes=3)
        order = np.random.default_rng(patient).permutation(len(label))
        for number, place_ in enumerate(order.tolist(), start=1):  # names say nothing of the position
            stored = (scan(label[place_], place_) + 24).astype(np.int16)
            path = root / f"patient{patient:02d}" / "CT" / f"{number:08X}"
            dicom(path, stored, number, f"1.2.826.0.2.{patient}", position=2.5 * place_, intercept=-1024)
        path = root / f"patient{patient:02d}" / "segmentation.nii.gz"
        nifti(path, label, spacing=(1, 1, 2.5), flips=(-1, -1, 1))


def write_left_atrium(root: Path) -> None:
    names = [f"{letter}RZDK210BSMWAA6467LU" for letter in "0123456"]
    for number, name in enumerate(names):
        label = draw_volume(number, 4, 36, 30)
        image = see(label, number, channels=0, high=1, dtype=np.float32)
        arrays = {"image": image, "label": label}
        path = root / "2018LA_Seg_Training Set" / name / "mri_norm2.h5"
        hdf5(path, {key: array.T for key, array in arrays.items()})
    text(root / "train.list", *names[:5])
    text(root / "test.list", *names[5:])


SETS = (
    DataSet(
        name="brats2020",
        title="BraTS 2020, tumours of the brain",
        address="https://www.med.upenn.edu/cbica/brats2020/data.html",
        terms="at its page; registration",
        citation="Menze et al., IEEE TMI 2015; Bakas et al., arXiv:1811.02629",
        sources=(
            "https://github.com/kancheng/fl-test-init (brats-2020-demo/input/README.md)",
            "https://github.com/MIC-DKFZ/nnUNet (dataset_conversion/Dataset137_BraTS21.py)",
        ),
        layout=(
            "MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_flair.nii\n"
            "(likewise _t1.nii, _t1ce.nii, _t2.nii, _seg.nii)"
        ),
        words=(
            several("data.images", *(f"MICCAI_BraTS2020_TrainingData/*/*_{kind}.nii" for kind in BRATS)),
            word("data.masks", "MICCAI_BraTS2020_TrainingData/*/*_seg.nii"),
            word("data.without_mask", "unlabelled"),
            classes({"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}),
        ),
        write=write_brats2020,
        oddities=(
            "four channels from four files; axial slices (`data.slice_axis=y` or `x` for others)",
            "there is no value 3",
            "the mask of case 355 is called `W39_1998.09.19_Segm.nii`: rename it, or the case counts as unlabelled",
            "the files of some years end in .nii.gz: change the suffix in the globs",
        ),
    ),
    DataSet(
        name="acdc",
        title="ACDC, the heart in MRI",
        address="https://www.creatis.insa-lyon.fr/Challenge/acdc/",
        terms="at its page",
        citation="Bernard et al., IEEE TMI 2018",
        sources=(f"{OPENMEDLAB}/ACDC.md", f"{TORCH_EM}/medical/acdc.py"),
        layout=(
            "database/training/patient001/patient001_frame01.nii.gz\n"
            "database/training/patient001/patient001_frame01_gt.nii.gz\n"
            "database/training/patient001/patient001_4d.nii.gz\n(likewise database/testing/patient101 ...)"
        ),
        words=(
            word("data.images", "database/training/*/*_frame[0-9][0-9].nii.gz"),
            word("data.masks", "database/training/*/*_frame[0-9][0-9]_gt.nii.gz"),
            classes({"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}),
            word("data.group", "patient[0-9]+"),
        ),
        write=write_acdc,
        oddities=(
            "two frames of a patient have masks: `data.group` keeps them in one split",
            "the globs leave the 4D files, which hold the whole cycle without masks, out",
        ),
    ),
    DataSet(
        name="synapse",
        title="Synapse multi-organ, as in TransUNet",
        address="https://www.synapse.org/#!Synapse:syn3193805/wiki/",
        terms="registration at Synapse",
        citation="Landman et al., MICCAI 2015 challenge; Chen et al., arXiv:2102.04306",
        sources=("https://github.com/Beckschen/TransUNet (datasets/README.md, datasets/dataset_synapse.py)",),
        layout="train_npz/case0005_slice000.npz (image, label)\ntest_vol_h5/case0001.npy.h5 (image, label)",
        words=(
            word("data.images", "train_npz/*.npz/image"),
            word("data.masks", "train_npz/*.npz/label"),
            classes({name: value for value, name in enumerate(SYNAPSE)}),
            word("data.group", "case[0-9]+"),
        ),
        write=write_synapse,
        oddities=(
            "image and label are two arrays of one file: the path goes on inside it",
            "slices of a patient stay in one split",
            "masks are floats that hold whole numbers",
        ),
    ),
    DataSet(
        name="msd_brain",
        title="Medical Segmentation Decathlon (Task01_BrainTumour)",
        address="http://medicaldecathlon.com/",
        terms="CC BY-SA 4.0",
        citation="Antonelli et al., Nature Communications 2022",
        sources=(f"{TORCH_EM}/medical/msd.py", "https://github.com/MIC-DKFZ/nnUNet (documentation/dataset_format.md)"),
        layout="Task01_BrainTumour/imagesTr/BRATS_001.nii.gz\nTask01_BrainTumour/labelsTr/BRATS_001.nii.gz",
        words=(
            word("data.images", "Task01_BrainTumour/imagesTr"),
            word("data.masks", "Task01_BrainTumour/labelsTr"),
            classes({"background": 0, "edema": 1, "non-enhancing": 2, "enhancing": 3}),
        ),
        write=write_msd_brain,
        oddities=(
            "the fourth axis of a volume is its channels",
            "hidden files `._BRATS_001.nii.gz` lie beside the volumes: passed over",
            "the other nine tasks: the same words with their folder and the labels of their `dataset.json`",
        ),
    ),
    DataSet(
        name="nnunet",
        title="A data set of nnU-Net (nnUNet_raw)",
        address="https://github.com/MIC-DKFZ/nnUNet",
        terms="those of the data set",
        citation="Isensee et al., Nature Methods 2021",
        sources=("https://github.com/MIC-DKFZ/nnUNet (documentation/dataset_format.md)",),
        layout=(
            "nnUNet_raw/Dataset005_Prostate/imagesTr/prostate_00_0000.nii.gz, prostate_00_0001.nii.gz\n"
            "nnUNet_raw/Dataset005_Prostate/labelsTr/prostate_00.nii.gz\nnnUNet_raw/Dataset005_Prostate/dataset.json"
        ),
        words=(
            several(
                "data.images",
                *(f"nnUNet_raw/Dataset005_Prostate/imagesTr/*_{channel:04d}.nii.gz" for channel in (0, 1)),
            ),
            word("data.masks", "nnUNet_raw/Dataset005_Prostate/labelsTr/*.nii.gz"),
            classes({"background": 0, "PZ": 1, "TZ": 2}),
        ),
        write=write_nnunet,
        oddities=(
            "a channel a file, by its number",
            "`labels` of `dataset.json` are the classes",
            "a label `ignore` of nnU-Net is `data.ignore=<its value>` here; regions (lists of labels) are no classes",
        ),
    ),
    DataSet(
        name="isles2022",
        title="ISLES 2022, strokes, in BIDS",
        address="https://doi.org/10.5281/zenodo.7960856",
        terms="at its page",
        citation="Hernandez Petzsche et al., Scientific Data 2022",
        sources=(f"{TORCH_EM}/medical/isles.py", "https://github.com/rajpurkarlab/ReX-MLE (challenges/isles22)"),
        layout=(
            "ISLES-2022/sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz, ..._adc.nii.gz\n"
            "ISLES-2022/sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz\n"
            "ISLES-2022/derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz"
        ),
        words=(
            several("data.images", *(f"ISLES-2022/sub-*/ses-*/dwi/*_{kind}.nii.gz" for kind in ("dwi", "adc"))),
            word("data.masks", "ISLES-2022/derivatives/sub-*/ses-*/*_msk.nii.gz"),
            classes({"background": 0, "stroke": 1}),
        ),
        write=write_isles2022,
        oddities=(
            "masks are drawn on the DWI; the FLAIR has another grid: it is no channel",
            "lists and JSON of BIDS lie beside the scans: passed over",
        ),
    ),
    DataSet(
        name="chaos_mr",
        title="CHAOS, organs in MRI (DICOM)",
        address="https://doi.org/10.5281/zenodo.3362844",
        terms="CC BY-SA 4.0",
        citation="Kavur et al., Medical Image Analysis 2021",
        sources=(f"{TORCH_EM}/medical/chaos.py", f"{OPENMEDLAB}/CHAOS.md"),
        layout=(
            "Train_Sets/MR/1/T2SPIR/DICOM_anon/IMG-0002-00001.dcm\nTrain_Sets/MR/1/T2SPIR/Ground/IMG-0002-00001.png"
        ),
        words=(
            word("data.images", "Train_Sets/MR/*/T2SPIR/DICOM_anon/*.dcm"),
            word("data.masks", "Train_Sets/MR/*/T2SPIR/Ground/*.png"),
            classes({"background": 0, "liver": 63, "right kidney": 126, "left kidney": 189, "spleen": 252}),
            word("data.group", "folder"),
        ),
        write=write_chaos_mr,
        oddities=(
            "a slice a file: `data.group=folder` keeps a patient in one split",
            "grey values 63, 126, 189 and 252 are the organs",
        ),
    ),
    DataSet(
        name="itksnap",
        title="DICOM series segmented in ITK-SNAP or 3D Slicer",
        address="http://www.itksnap.org/",
        terms="those of your data",
        citation="Yushkevich et al., NeuroImage 2006",
        sources=(
            "https://nifti.nimh.nih.gov/nifti-1",
            "http://www.itksnap.org/pmwiki/pmwiki.php?n=Documentation.SNAP3",
        ),
        layout="patient01/CT/00000001 ... (DICOM without suffix)\npatient01/segmentation.nii.gz",
        words=(
            word("data.images", "*/CT/"),
            word("data.masks", "*/segmentation.nii.gz"),
            classes({"background": 0, "organ": 1, "lesion": 2}),
        ),
        write=write_itksnap,
        oddities=(
            "a glob that ends in `/` names folders: each is a series, its slices in the order of their positions",
            "the mask is of the grid of the series, as both programs save it; one that another program has flipped or "
            "turned (dcm2niix flips rows) is refused: convert image and mask with one program",
        ),
    ),
    DataSet(
        name="left_atrium",
        title="Left atrium 2018, as in UA-MT",
        address="https://github.com/yulequan/UA-MT",
        terms="those of the challenge, http://atriaseg2018.cardiacatlas.org/",
        citation="Xiong et al., Medical Image Analysis 2021; Yu et al., MICCAI 2019",
        sources=("https://github.com/yulequan/UA-MT (code/dataloaders/la_heart.py)",),
        layout="2018LA_Seg_Training Set/0RZDK210BSMWAA6467LU/mri_norm2.h5 (image, label)\ntrain.list, test.list",
        words=(
            word("data.images", "2018LA_Seg_Training Set/*/mri_norm2.h5/image"),
            word("data.masks", "2018LA_Seg_Training Set/*/mri_norm2.h5/label"),
            classes({"background": 0, "left atrium": 1}),
            word("data.axes", "xyz"),
        ),
        write=write_left_atrium,
        oddities=(
            "x is the first axis and slices are along the last: `data.axes` says so, for HDF5 does not",
            "the file of each case has the same name: the folder is the name of the image",
        ),
    ),
)
