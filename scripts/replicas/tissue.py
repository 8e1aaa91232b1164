"""Data sets of stained tissue."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from replicas.files import picture, place, polygons, text, tiff
from replicas.medical import TORCH_EM
from replicas.microscopy import INSTANCES, WHITE
from replicas.record import DataSet, word
from replicas.scenes import draw_scene, see


def aperio(shapes: Sequence[Sequence[Sequence[float]]]) -> list[str]:
    """The lines of an annotation of ImageScope with these polygons (x, y)."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<Annotations MicronsPerPixel="0.252000">']
    lines += ['\t<Annotation Id="1" Name="" ReadOnly="0" Incremental="0" Type="4" LineColor="65280" Visible="1">']
    lines += ['\t\t<Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>', "\t\t<Regions>"]
    lines += ['\t\t\t<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/></RegionAttributeHeaders>']
    for number, shape in enumerate(shapes, start=1):
        lines += [f'\t\t\t<Region Id="{number}" Type="0" Zoom="0.5" NegativeROA="0" Text="" Analyze="0">']
        lines += ["\t\t\t\t<Attributes/>", "\t\t\t\t<Vertices>"]
        lines += [f'\t\t\t\t\t<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in shape]
        lines += ["\t\t\t\t</Vertices>", "\t\t\t</Region>"]
    return [*lines, "\t\t</Regions>", "\t\t<Plots/>", "\t</Annotation>", "</Annotations>"]


def write_monuseg(root: Path) -> None:
    for number in range(9):
        scene = draw_scene(number)
        test = number >= 7
        name = f"TCGA-{18 + number}-5592-01Z-00-DX1"
        folder = root / ("MoNuSegTestData" if test else "MoNuSeg 2018 Training Data")
        tiff(folder / ("" if test else "Tissue Images") / f"{name}.tif", see(scene.label, number))
        text(folder / ("" if test else "Annotations") / f"{name}.xml", *aperio(polygons(scene.objects)))


def write_tnbc(root: Path) -> None:
    for slide in range(1, 5):
        for number in (1, 2):
            scene = draw_scene(10 * slide + number)
            image = np.concatenate([see(scene.label, slide), np.full((*scene.label.shape, 1), WHITE)], axis=2)
            folder = root / "TNBC_NucleiSegmentation"
            picture(folder / f"Slide_{slide:02d}" / f"{slide:02d}_{number}.png", image)
            picture(folder / f"GT_{slide:02d}" / f"{slide:02d}_{number}.png", scene.label * WHITE)
    place(root / "__MACOSX/TNBC_NucleiSegmentation/Slide_01/._01_1.png").write_bytes(b"\0\5\26\7Mac OS X")


def write_glas(root: Path) -> None:
    folder = root / "Warwick QU Dataset (Released 2016_07_08)"
    for name in (*(f"train_{number}" for number in range(1, 7)), "testA_1", "testB_1"):
        scene = draw_scene(len(name) + ord(name[-1]))
        picture(folder / f"{name}.bmp", see(scene.label, ord(name[-1])))
        picture(folder / f"{name}_anno.bmp", scene.objects)
    text(folder / "Grade.csv", "name,patient ID,grade (GlaS),grade (Sirinukunwattana et al. 2015)")


SETS = (
    DataSet(
        name="monuseg",
        title="MoNuSeg 2018, nuclei in tissue",
        address="https://monuseg.grand-challenge.org/Data/",
        terms="CC BY-NC-SA 4.0",
        citation="Kumar et al., IEEE TMI 2017",
        sources=(f"{TORCH_EM}/histopathology/monuseg.py",),
        layout=(
            "MoNuSeg 2018 Training Data/Tissue Images/TCGA-18-5592-01Z-00-DX1.tif\n"
            "MoNuSeg 2018 Training Data/Annotations/TCGA-18-5592-01Z-00-DX1.xml\n"
            "MoNuSegTestData/TCGA-....tif and .xml"
        ),
        words=(
            word("data.images", "MoNuSeg 2018 Training Data/Tissue Images"),
            word("data.masks", "MoNuSeg 2018 Training Data/Annotations/*.xml"),
            INSTANCES,
        ),
        write=write_monuseg,
        oddities=(
            "masks are polygons of ImageScope: drawn",
            "`MoNuSegTestData` has both in one folder: `data.images='MoNuSegTestData/*.tif'` "
            "`data.masks='MoNuSegTestData/*.xml'`",
        ),
    ),
    DataSet(
        name="tnbc",
        title="TNBC, nuclei in tissue",
        address="https://doi.org/10.5281/zenodo.1175282",
        terms="at its page",
        citation="Naylor et al., IEEE TMI 2019",
        sources=(f"{TORCH_EM}/histopathology/tnbc.py",),
        layout="TNBC_NucleiSegmentation/Slide_01/01_1.png\nTNBC_NucleiSegmentation/GT_01/01_1.png",
        words=(
            word("data.images", "TNBC_NucleiSegmentation/Slide_*/*.png"),
            word("data.masks", "TNBC_NucleiSegmentation/GT_*/*.png"),
            word("data.group", "folder"),
        ),
        write=write_tnbc,
        oddities=(
            "a slide is a patient: `data.group=folder` keeps it in one split",
            "images have an alpha that is opaque: it is dropped",
            "`__MACOSX` lies beside the set: the globs pass it over",
        ),
    ),
    DataSet(
        name="glas",
        title="GlaS (Warwick-QU), glands",
        address="https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest/",
        terms="at its page: research",
        citation="Sirinukunwattana et al., Medical Image Analysis 2017",
        sources=(f"{TORCH_EM}/histopathology/glas.py",),
        layout=(
            "Warwick QU Dataset (Released 2016_07_08)/train_1.bmp, train_1_anno.bmp, testA_1.bmp, testA_1_anno.bmp, "
            "testB_1.bmp, ..., Grade.csv"
        ),
        words=(
            word("data.images", "Warwick QU Dataset (Released 2016_07_08)"),
            word("data.masks", "Warwick QU Dataset (Released 2016_07_08)"),
            word("data.mask_suffix", "_anno"),
            INSTANCES,
        ),
        write=write_glas,
        oddities=(
            "BMP, images and masks in one folder, told apart by `data.mask_suffix`",
            "masks number the glands; they show almost black in a viewer",
            "the copy at Kaggle calls the folder `Warwick_QU_Dataset`",
            "these words divide all 165 images; `data.images` and `data.masks` both "
            "`'...=\"Warwick QU Dataset (Released 2016_07_08)/train_*.bmp\"'` train on the 85 of `train_*` alone",
        ),
    ),
)
