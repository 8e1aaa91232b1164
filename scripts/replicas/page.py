"""Writes the page of data sets, docs/datasets.md, from what is known of them."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from replicas import CHAPTERS, DATA_SETS
from replicas.record import DataSet

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"
WIDTH = 120

INTRODUCTION = f"""\
# Data sets

<!-- Written by `python scripts/make_replica.py page`; change scripts/replicas/ instead. -->

The words that train on {len(DATA_SETS)} public data sets and exports of labelling tools, as they are unpacked, without a conversion
script. `data.root` is the folder below which the files of the layout lie. Look first: `python scripts/check_data.py`
takes the same words. `pip install -e '.[nifti,dicom,hdf5,zarr,coco]'` installs what reads volumes, containers and COCO.

**How far this was tried.** The layouts are known from the sources named with each: documentation, papers, and programs
that read these sets. Nothing was downloaded for them; only ISBI 2012 was tried with real images. For each there is a
replica, of a few small generated images with the names, folders, kinds of files, values and oddities of the real set;
`python scripts/make_replica.py drive replicas` writes one, and a test trains two steps on each by the words below. If
an archive differs, `check_data.py` says in one line what it misses. Terms are as far as known: read them at the
address.

The recipe `experiment=own` has a network for two cores; other words override it ([your own images](your_images.md)).
"""  # noqa: E501

NOT_READ = """\
## What is not read as it comes

| data set | holds | way out |
| --- | --- | --- |
| PanNuke | `masks.npy`, an instance map for each class in six channels | one mask of classes, by a few lines of NumPy |
| Lizard, CoNSeP, CoNIC | instance maps in `.mat`, classes beside them | save `inst_map` as TIFF, or map it to classes |
| SegPC 2021 | a file an object, of all images in one folder | a folder of masks for each image |
| Airbus Ship, Severstal, HuBMAP | runs of pixels in a CSV | a file of COCO, whose masks may be runs |
| Cellpose `_seg.npy` | a pickle, which could run code | save masks as PNG or TIFF |
| Supervisely, VIA, Labelbox | JSON of their own | export as COCO, or as masks |
| TotalSegmentator | a volume a class for each scan | one volume of all classes, by a few lines of NumPy |
| NRRD, MHA (some challenges, 3D Slicer) | volumes | save as NIfTI |
"""


def render() -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *_list_sets(), *_describe_chapters(), NOT_READ])


def write(path: Path = PAGE) -> None:
    """Writes the page."""
    path.write_text(render())


def command(one: DataSet) -> str:
    """The command that trains on a data set, for a shell."""
    first, *others = (shlex.quote(word) for word in one.words)
    root = f"data.root=path/to/{one.name}"
    # An option of a group comes before its keys.
    words = [first, root, *others] if first.startswith("data=") else [root, first, *others]
    return " \\\n  ".join([f"python scripts/train.py {one.recipe} {words[0]}", *words[1:]])


def _list_sets() -> Iterator[str]:
    yield "| | |\n| --- | --- |"
    for heading, chapter in CHAPTERS.items():
        links = " · ".join(f"[{one.title}](#{_anchor(one.title)})" for one in chapter)
        yield f"| {heading} | {links} |"
    yield ""


def _anchor(title: str) -> str:
    """The anchor that GitHub makes of a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _describe_chapters() -> Iterator[str]:
    for heading, chapter in CHAPTERS.items():
        yield f"## {heading}\n"
        yield from map(_describe, chapter)


def _describe(one: DataSet) -> str:
    about = _wrap(f"<{one.address}>. Terms: {one.terms}. Cite {one.citation}.")
    oddities = "\n".join(_wrap(f"- {oddity}", indent="  ") for oddity in one.oddities)
    return f"""\
### {one.title}

{about}

```text
{one.layout}
```

```bash
{command(one)}
```

{oddities}

{_wrap(f"Layout from {'; '.join(one.sources)}.")}
"""


def _wrap(text: str, indent: str = "") -> str:
    return fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
