"""Tiny replicas of public data sets: their folders, names and kinds of files, with generated images."""

from replicas import aerial, medical, microscopy, photographs, tissue, tools, volumes
from replicas.record import DataSet

CHAPTERS: dict[str, tuple[DataSet, ...]] = {
    "Photographs": photographs.SETS,
    "Aerial and satellite images": aerial.SETS,
    "Medical pictures": medical.SETS,
    "Medical volumes": volumes.SETS,
    "Microscopy": microscopy.SETS,
    "Tissue": tissue.SETS,
    "Labelling tools": tools.SETS,
}
"""All data sets, by the heading under which the page has them."""

DATA_SETS = {one.name: one for chapter in CHAPTERS.values() for one in chapter}
"""All data sets by name."""
