"""The objects of all images of a prediction: counted, and in one table."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from unet_exp.files import write_whole

JOINED = "instances.csv"


def count_objects(table: Path, classes: Sequence[str]) -> dict[str, int]:
    """The number of objects of each class in a table of `unet_exp.inference.instances.write_instances`."""
    with table.open(newline="", encoding="utf-8") as file:
        found = Counter(row["class"] for row in csv.DictReader(file))
    return {name: found[name] for name in classes}


def join_tables(folder: Path, tables: Mapping[Path, Path]) -> Path:
    """Writes the tables of images as one, `instances.csv`, with a first column `file`, and replaces an earlier one.

    Several processes may do so at a time, each when its own tables are there: the one that ends last has all.

    Args:
        folder: of the joined table.
        tables: of each image; those that are not there are left out.

    Returns:
        Its path.

    Raises:
        OSError: of the reading and the writing.
    """
    target, before = folder / JOINED, None
    while (now := _find_stamps(tables)) != before:
        _write_joined(target, {image: tables[image] for image in now})
        before = now
    return target


def _find_stamps(tables: Mapping[Path, Path]) -> dict[Path, tuple[int, int]]:
    """When each table was written, and its size."""
    found = {image: table.stat() for image, table in tables.items() if table.exists()}
    return {image: (state.st_mtime_ns, state.st_size) for image, state in found.items()}


def _write_joined(target: Path, tables: Mapping[Path, Path]) -> None:
    with write_whole(target) as side, side.open("w", newline="", encoding="utf-8") as joined:
        rows = csv.writer(joined, lineterminator="\n")
        for number, (image, table) in enumerate(tables.items()):
            with table.open(newline="", encoding="utf-8") as file:
                header, *body = csv.reader(file)
            if number == 0:
                rows.writerow(["file", *header])
            rows.writerows([str(image), *row] for row in body)
