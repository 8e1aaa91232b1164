"""Data sets of aerial and satellite images."""

from pathlib import Path
from typing import Any

import numpy as np

from replicas.files import Array, as_json, picture, polygons, text, tiff
from replicas.record import DataSet, classes, several, word
from replicas.scenes import draw_scene, see

POTSDAM = {
    "impervious": [255, 255, 255],
    "building": [0, 0, 255],
    "low vegetation": [0, 255, 255],
    "tree": [0, 255, 0],
    "car": [255, 255, 0],
    "clutter": [255, 0, 0],
}
DEEPGLOBE = {
    "urban": [0, 255, 255],
    "agriculture": [255, 255, 0],
    "rangeland": [255, 0, 255],
    "forest": [0, 255, 0],
    "water": [0, 0, 255],
    "barren": [255, 255, 255],
}
LOVEDA = ("background", "building", "road", "water", "barren", "forest", "agriculture")
TORCHGEO = "https://github.com/torchgeo/torchgeo/blob/main/torchgeo/datasets"
DEGREES = 2.7e-6
"""Of a pixel of SpaceNet."""


def georeference(left: float, top: float, step: float, epsg: int) -> dict[str, Any]:
    """Options of `tiff`: the tags of a GeoTIFF in geographic coordinates."""
    keys = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, epsg)
    tags = [
        (33550, "d", 3, (step, step, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, left, top, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    return {"extratags": tags}


def paint(label: Array, colors: dict[str, list[int]]) -> Array:
    """A map of classes in their colours (H, W, 3)."""
    return np.array(list(colors.values()), np.uint8)[label]


def write_massachusetts_roads(root: Path) -> None:
    for part, count in (("train", 4), ("valid", 2), ("test", 2)):
        for number in range(count):
            scene = draw_scene(number)
            image = see(scene.label, number, high=230)
            if number == 0:
                image[:, :20] = 255  # no image was taken there
            name = f"{10078660 + number}_15"
            tiff(root / part / "sat" / f"{name}.tiff", image)
            tiff(root / part / "map" / f"{name}.tif", scene.label * np.uint8(255))


def write_spacenet_vegas(root: Path) -> None:
    for number in range(1, 8):
        scene = draw_scene(number, 40, 40)
        left, top = -115.3 + 0.001 * number, 36.2
        name = f"AOI_2_Vegas_img{number}"
        image = see(scene.label, number, high=2047, dtype=np.uint16)
        if number == 2:
            image[:, :10] = 0
        tiff(root / "RGB-PanSharpen" / f"RGB-PanSharpen_{name}.tif", image, **georeference(left, top, DEGREES, 4326))
        features = [
            {
                "type": "Feature",
                "properties": {"OBJECTID": place, "partialBuilding": 0.0},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[left + x * DEGREES, top - y * DEGREES, 0.0] for x, y in [*polygon, polygon[0]]]],
                },
            }
            for place, polygon in enumerate([] if number == 3 else polygons(scene.objects))
        ]
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
        as_json(
            root / "geojson/buildings" / f"buildings_{name}.geojson",
            {"type": "FeatureCollection", "crs": crs, "features": features},
        )


def write_loveda(root: Path) -> None:
    for part, count in (("Train", 2), ("Val", 1)):
        for scenery in ("Rural", "Urban"):
            for number in range(count):
                scene = draw_scene(number, classes=7, count=9)
                label = scene.label + np.uint8(1)
                label[:5] = 0
                name = f"{len(part) * 100 + len(scenery) + number}.png"
                picture(root / part / scenery / "images_png" / name, see(label, number))
                picture(root / part / scenery / "masks_png" / name, label)
    picture(root / "Test/Urban/images_png/4191.png", see(draw_scene(9).label, 9))


def write_potsdam(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, classes=6, count=9)
        mask = paint(scene.label, POTSDAM)
        if number == 6:
            mask = np.where(mask == 255, np.uint8(252), mask)
        place = f"top_potsdam_{2 + number // 3}_{10 + number % 3 + 2 * (number == 6)}"
        tiff(root / "2_Ortho_RGB" / f"{place}_RGB.tif", see(scene.label, number))
        tiff(root / "5_Labels_all" / f"{place}_label.tif", mask)
        text(root / "2_Ortho_RGB" / f"{place}_RGB.tfw", "0.05", "0.0", "0.0", "-0.05", "366676.0", "5808000.0")


def write_deepglobe_land(root: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(7):
        scene = draw_scene(number, classes=6, count=9)
        mask = paint(scene.label, DEEPGLOBE)
        mask[:4] = 0
        odd = random.random(mask.shape[:2]) < 0.01
        mask[odd] = np.where(mask[odd] > 128, mask[odd] - 6, mask[odd] + 6)
        picture(root / "train" / f"{119 + number}_sat.jpg", see(scene.label, number))
        picture(root / "train" / f"{119 + number}_mask.png", mask)


def write_inria(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number)
        name = f"{('austin', 'chicago', 'kitsap', 'vienna')[number // 2]}{1 + number % 2}.tif"
        tiff(root / "AerialImageDataset/train/images" / name, see(scene.label, number))
        tiff(root / "AerialImageDataset/train/gt" / name, scene.label * np.uint8(255))
    tiff(root / "AerialImageDataset/test/images/bellingham1.tif", see(draw_scene(9).label, 9))


def write_cloud38(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number, 32, 32)
        image = see(scene.label, number, channels=4, low=5000, high=30000, dtype=np.uint16)
        if number == 1:
            image[:10] = 0
        scenery = f"LC08_L1TP_{2 + number // 2:03d}053_20160520_20170324_01_T1"
        name = f"patch_{number + 1}_{1 + number % 2}_by_1_{scenery}.TIF"
        for channel, band in enumerate(("red", "green", "blue", "nir")):
            tiff(root / "38-Cloud_training" / f"train_{band}" / f"{band}_{name}", image[..., channel])
        tiff(root / "38-Cloud_training/train_gt" / f"gt_{name}", scene.label * np.uint8(255))


def write_sen1floods11(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number, 40, 40)
        image = see(scene.label, number, channels=2, low=-30, high=0, dtype=np.float32)
        label = scene.label.astype(np.int16)
        label[:, :6] = -1
        if number == 2:
            image[:, :4] = np.nan
        name = f"{('Bolivia', 'Ghana', 'India', 'USA')[number // 2]}_{103272 + number}"
        folder = root / "v1.1/data/flood_events/HandLabeled"
        planes = np.moveaxis(image, -1, 0)
        tags = georeference(-0.5, 10.0, 9e-5, 4326)
        tiff(folder / "S1Hand" / f"{name}_S1Hand.tif", planes, planarconfig="separate", **tags)
        tiff(folder / "LabelHand" / f"{name}_LabelHand.tif", label, **tags)


SETS = (
    DataSet(
        name="massachusetts_roads",
        title="Massachusetts Roads",
        address="https://www.cs.toronto.edu/~vmnih/data/",
        terms="none stated",
        citation="Mnih, PhD thesis, University of Toronto 2013",
        sources=("https://github.com/bohaohuang/mrs (data/mnih/README.md)",),
        layout="train/sat/10078660_15.tiff\ntrain/map/10078660_15.tif\n(likewise valid and test)",
        words=(
            word("data.images", "{train,valid,test}/sat/*.tiff"),
            word("data.masks", "{train,valid,test}/map/*.tif"),
            word("data.split", "folders"),
            word("data.nodata", 255),
        ),
        write=write_massachusetts_roads,
        oddities=(
            "some training images are white where none was taken, over roads in their masks: `data.nodata=255`",
            "images end in .tiff, masks in .tif: suffixes are no part of a name",
            "`valid` is val",
        ),
    ),
    DataSet(
        name="spacenet_vegas",
        title="SpaceNet 2, Las Vegas, buildings",
        address="https://spacenet.ai/spacenet-buildings-dataset-v2/",
        terms="CC BY-SA 4.0",
        citation="Van Etten et al., arXiv:1807.01232",
        sources=(
            "https://github.com/SpaceNetChallenge/SpaceNetChallenge.github.io (AOI_Lists/AOI_2_Vegas.md)",
            f"{TORCHGEO}/spacenet/spacenet2.py",
        ),
        layout=(
            "RGB-PanSharpen/RGB-PanSharpen_AOI_2_Vegas_img1.tif\n"
            "geojson/buildings/buildings_AOI_2_Vegas_img1.geojson\n(data.root: AOI_2_Vegas_Train)"
        ),
        words=(
            word("data.images", "RGB-PanSharpen/RGB-PanSharpen_*.tif"),
            word("data.masks", "geojson/buildings/buildings_*.geojson"),
            word("data.nodata", 0),
        ),
        write=write_spacenet_vegas,
        oddities=(
            "buildings are polygons in degrees: drawn by the georeference of each image",
            "a file without polygons is an image without buildings, all background",
            "images are black beside the strip of the satellite: `data.nodata=0`",
            "16 bits: `data.normalization=image`, the default, scales each image",
        ),
    ),
    DataSet(
        name="loveda",
        title="LoveDA",
        address="https://zenodo.org/record/5706578",
        terms="CC BY-NC-SA 4.0",
        citation="Wang et al., NeurIPS Datasets and Benchmarks 2021",
        sources=(f"{TORCHGEO}/loveda.py", "https://github.com/Junjue-Wang/LoveDA"),
        layout=(
            "Train/Rural/images_png/0.png\nTrain/Rural/masks_png/0.png\n(likewise Train/Urban, Val/Rural, Val/Urban; "
            "Test has no masks)"
        ),
        words=(
            word("data.images", "{Train,Val}/*/images_png/*.png"),
            word("data.masks", "{Train,Val}/*/masks_png/*.png"),
            word("data.split", "folders"),
            classes({name: value for value, name in enumerate(LOVEDA, start=1)}),
            word("data.ignore", 0),
        ),
        write=write_loveda,
        oddities=("0 is no data: ignored, and the background is 1", "folders begin with a capital: also train and val"),
    ),
    DataSet(
        name="potsdam",
        title="ISPRS Potsdam",
        address="https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
        terms="those of the ISPRS benchmark, at its page",
        citation="Rottensteiner et al., ISPRS Annals 2012",
        sources=(
            f"{TORCHGEO}/potsdam.py",
            "https://github.com/open-mmlab/mmsegmentation/blob/main/tools/dataset_converters/potsdam.py",
        ),
        layout="2_Ortho_RGB/top_potsdam_2_10_RGB.tif\n5_Labels_all/top_potsdam_2_10_label.tif",
        words=(
            word("data.images", "2_Ortho_RGB/*_RGB.tif"),
            word("data.masks", "5_Labels_all/*_label.tif"),
            classes(POTSDAM),
            word("data.inexact", "nearest"),
        ),
        write=write_potsdam,
        oddities=(
            "masks are colours; those of `top_potsdam_4_12_label.tif` are a little beside the others': each pixel is "
            "given the nearest class, and their share is told",
            "6000 x 6000 pixels: `data.cache=disk` reads windows of them",
            "`5_Labels_all_noBoundary` has black borders: add `data.ignore=[0,0,0]`",
        ),
    ),
    DataSet(
        name="deepglobe_land",
        title="DeepGlobe Land Cover",
        address="https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset",
        terms="those of the challenge: research",
        citation="Demir et al., CVPR Workshops 2018",
        sources=(f"{TORCHGEO}/deepglobelandcover.py",),
        layout="train/119_sat.jpg\ntrain/119_mask.png",
        words=(
            word("data.images", "train/*_sat.jpg"),
            word("data.masks", "train/*_mask.png"),
            classes(DEEPGLOBE),
            "data.ignore=[0,0,0]",
            word("data.inexact", "nearest"),
        ),
        write=write_deepglobe_land,
        oddities=(
            "images and masks lie in one folder: the globs tell them apart",
            "channels of masks may be a little beside 0 and 255: each pixel is given the nearest class",
            "black is unknown: ignored",
        ),
    ),
    DataSet(
        name="inria",
        title="Inria Aerial Image Labeling",
        address="https://project.inria.fr/aerialimagelabeling/",
        terms="at its page",
        citation="Maggiori et al., IGARSS 2017",
        sources=(f"{TORCHGEO}/inria.py",),
        layout="AerialImageDataset/train/images/austin1.tif\nAerialImageDataset/train/gt/austin1.tif",
        words=(
            word("data.images", "AerialImageDataset/train/images"),
            word("data.masks", "AerialImageDataset/train/gt"),
            word("data.group", "^[a-z-]+"),
        ),
        write=write_inria,
        oddities=("36 images a city: `data.group` keeps a city in one split; leave it out to mix them",),
    ),
    DataSet(
        name="cloud38",
        title="38-Cloud (Landsat 8)",
        address="https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset",
        terms="at its page",
        citation="Mohajerani and Saeedi, IGARSS 2019",
        sources=("https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset (README.md)",),
        layout=(
            "38-Cloud_training/train_red/red_patch_1_1_by_1_LC08_....TIF\n"
            "(likewise train_green/green_..., train_blue/blue_..., train_nir/nir_..., train_gt/gt_...)"
        ),
        words=(
            several(
                "data.images", *(f"38-Cloud_training/train_{b}/{b}_*.TIF" for b in ("red", "green", "blue", "nir"))
            ),
            word("data.masks", "38-Cloud_training/train_gt/gt_*.TIF"),
            word("data.group", "LC08_L1TP_[0-9]+_[0-9]+"),
            word("data.nodata", 0),
        ),
        write=write_cloud38,
        oddities=(
            "each channel is a file of its own: `data.images` is a list, in the order of the channels",
            "patches of one scene stay in one split",
            "a scene is turned in its frame, 0 outside: `data.nodata=0`",
        ),
    ),
    DataSet(
        name="sen1floods11",
        title="Sen1Floods11, radar",
        address="https://github.com/cloudtostreet/Sen1Floods11",
        terms="at its page",
        citation="Bonafilia et al., CVPR Workshops 2020",
        sources=(
            "https://github.com/cloudtostreet/Sen1Floods11 (README.md: bands and values; its folders: programs that "
            "read `HandLabeled/S1Hand`)",
        ),
        layout=(
            "v1.1/data/flood_events/HandLabeled/S1Hand/Ghana_103272_S1Hand.tif\n"
            "v1.1/data/flood_events/HandLabeled/LabelHand/Ghana_103272_LabelHand.tif\n(likewise S2Hand, 13 bands)"
        ),
        words=(
            word("data.images", "v1.1/data/flood_events/HandLabeled/S1Hand/*_S1Hand.tif"),
            word("data.masks", "v1.1/data/flood_events/HandLabeled/LabelHand/*_LabelHand.tif"),
            classes({"land": 0, "water": 1}),
            "data.ignore=-1",
            word("data.group", "^[A-Za-z-]+"),
        ),
        write=write_sen1floods11,
        oddities=(
            "-1 is no label: ignored",
            "images are floats, NaN where the radar saw nothing: no data",
            "two bands as planes of one page are two channels; tiles of a country stay in one split",
        ),
    ),
)
