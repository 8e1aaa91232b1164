"""What labelling tools export."""

from pathlib import Path
from typing import Any

import numpy as np

from replicas.files import Array, as_json, hdf5, picture, place, polygons, text, tiff
from replicas.record import DataSet, classes, label_classes, word
from replicas.scenes import draw_scene, draw_volume, see

YOURS = "those of your data"


def write_labelme(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, 44, 52)
        shapes: list[Any] = [
            {"label": ("cat", "dog", "unsure")[number_ % 3], "points": polygon, "group_id": None,
             "shape_type": "polygon", "flags": {}}
            for number_, polygon in enumerate(polygons(scene.objects))
        ]  # fmt: skip
        name = f"photo{number}"
        shapes.append({"label": "cat", "points": [[2.0, 2.0], [9.0, 7.0]], "group_id": None,
                       "shape_type": "rectangle", "flags": {}})  # fmt: skip
        content: dict[str, Any] = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
            "imageHeight": 44, "imageWidth": 52,
        }  # fmt: skip
        picture(root / f"{name}.jpg", see(scene.label, number))
        as_json(root / f"{name}.json", content)


def write_cvat(root: Path) -> None:
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    lines += ["  <meta><task><name>plants</name></task></meta>"]
    for number in range(7):
        scene = draw_scene(number, 44, 52)
        name = f"img{number}.png"
        picture(root / "images" / name, see(scene.label, number))
        lines.append(f'  <image id="{number}" name="{name}" width="52" height="44">')
        for order, polygon in enumerate(polygons(scene.objects)):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon)
            label = ("leaf", "stem")[order % 2]
            lines.append(
                f'    <polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="{order}"/>'
            )
        lines.append('    <box label="leaf" source="manual" occluded="0" xtl="1" ytl="1" xbr="8" ybr="6" z_order="0"/>')
        lines.append("  </image>")
    text(root / "annotations.xml", *lines, "</annotations>")


def write_qupath(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, 44, 52)
        features = [
            {
                "type": "Feature",
                "id": f"{number}-{order}",
                "geometry": {"type": "Polygon", "coordinates": [[*polygon, polygon[0]]]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": ("Tumor", "Stroma")[order % 2], "color": [200, 0, 0]},
                },
            }
            for order, polygon in enumerate(polygons(scene.objects))
        ]
        tiff(root / f"region{number}.tif", see(scene.label, number))
        as_json(root / f"region{number}.geojson", {"type": "FeatureCollection", "features": features})


def write_ilastik(root: Path) -> None:
    for number in range(7):
        scene = draw_scene(number, 44, 52)
        tiff(root / f"img_{number:02d}.tif", see(scene.label, number, channels=0))
        exported = (scene.label + np.uint8(1))[..., None]
        axes = {"axes": [{"key": "y", "typeFlags": 2}, {"key": "x", "typeFlags": 2}, {"key": "c", "typeFlags": 1}]}
        name = f"img_{number:02d}_Simple Segmentation.h5"
        hdf5(root / name, {"exported_data": exported}, {"exported_data": {"axistags": str(axes).replace("'", '"')}})


def zarr_image(group: Any, array: Array, axes: str, **attributes: Any) -> None:
    """Writes two levels of an image into a group of Zarr, as OME-Zarr 0.4 describes them."""
    levels: list[Any] = []
    for level, step in enumerate((1, 2)):
        group.create_array(str(level), data=array[..., ::step, ::step], chunks=(*(1,) * (array.ndim - 2), 16, 16))
        scale = [1.0] * (array.ndim - 2) + [float(step)] * 2
        levels.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    group.attrs.update({"multiscales": [{"version": "0.4", "axes": named, "datasets": levels}], **attributes})


def write_ome_zarr(root: Path) -> None:
    import zarr

    for number in range(1, 6):
        label = draw_volume(number, 3, 40, 44)
        image = np.moveaxis(see(label, number, channels=2, high=4000, dtype=np.uint16), -1, 0)
        path = place(root / f"field{number}.ome.zarr")
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        zarr_image(group, image, "czyx")
        labels = group.create_group("labels")
        labels.attrs["labels"] = ["nuclei"]
        nuclei = labels.create_group("nuclei")
        objects = draw_scene(number, 40, 44).objects * label
        zarr_image(nuclei, objects.astype(np.int32), "zyx", **{"image-label": {"version": "0.4"}})


SETS = (
    DataSet(
        name="labelme",
        title="LabelMe",
        address="https://github.com/wkentaro/labelme",
        terms=YOURS,
        citation="Wada, labelme, doi:10.5281/zenodo.5711226",
        sources=("https://github.com/wkentaro/labelme (labelme/label_file.py)",),
        layout="photo0.jpg\nphoto0.json",
        words=(
            word("data.images", "*.jpg"),
            word("data.masks", "*.json"),
            label_classes("cat", "dog"),
            "data.ignore=[unsure]",
        ),
        write=write_labelme,
        oddities=(
            "polygons, rectangles, circles, lines and points are drawn; later shapes lie over earlier ones",
            "shapes of the label `unsure` are ignored",
        ),
    ),
    DataSet(
        name="cvat",
        title="CVAT, export `CVAT for images 1.1`",
        address="https://www.cvat.ai/",
        terms=YOURS,
        citation="CVAT.ai Corporation, doi:10.5281/zenodo.4009388",
        sources=("https://docs.cvat.ai/v2.7.6/docs/manual/advanced/formats/format-cvat",),
        layout="images/img1.png\nannotations.xml",
        words=(
            word("data.images", "images"),
            word("data.masks", "annotations.xml"),
            label_classes("leaf", "stem"),
        ),
        write=write_cvat,
        oddities=("one file for all images, which it names", "shapes are drawn in the order of `z_order`"),
    ),
    DataSet(
        name="qupath",
        title="QuPath, annotations as GeoJSON",
        address="https://qupath.github.io/",
        terms=YOURS,
        citation="Bankhead et al., Scientific Reports 2017",
        sources=("https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html",),
        layout="region0.tif\nregion0.geojson",
        words=(
            word("data.images", "*.tif"),
            word("data.masks", "*.geojson"),
            label_classes("Tumor", "Stroma"),
        ),
        write=write_qupath,
        oddities=(
            "coordinates are pixels of the image, because it has no georeference; export the region and its "
            "annotations with one origin",
            "the class of an annotation is its label",
        ),
    ),
    DataSet(
        name="ilastik",
        title="ilastik, Simple Segmentation as HDF5",
        address="https://www.ilastik.org/",
        terms=YOURS,
        citation="Berg et al., Nature Methods 2019",
        sources=("https://www.ilastik.org/documentation/basics/export",),
        layout="img_00.tif\nimg_00_Simple Segmentation.h5 (exported_data)",
        words=(
            word("data.images", "*.tif"),
            word("data.masks", "*_Simple Segmentation.h5/exported_data"),
            classes({"background": 1, "cell": 2}),
        ),
        write=write_ilastik,
        oddities=("values begin with 1", "the last axis has one channel"),
    ),
    DataSet(
        name="ome_zarr",
        title="OME-Zarr with labels",
        address="https://ngff.openmicroscopy.org/",
        terms=YOURS,
        citation="Moore et al., Nature Methods 2021",
        sources=("https://github.com/ome/ngff (latest/index.bs)",),
        layout="field1.ome.zarr/0, 1, ... (levels)\nfield1.ome.zarr/labels/nuclei/0, 1, ...",
        words=(
            word("data.images", "*.ome.zarr"),
            word("data.masks", "*.ome.zarr/labels/nuclei"),
            word("data.labels", "instances"),
        ),
        write=write_ome_zarr,
        oddities=(
            "a folder `.zarr` is one image; the finest level is read, and its metadata name the axes",
            "volumes are stacks of slices; channels are channels",
        ),
    ),
)
