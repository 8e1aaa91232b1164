"""Inspects images and masks before a training: tables, suspicious files, the classes that masks seem to have."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from unet_exp import losses
from unet_exp.config import IGNORE_LABEL, ClassSpec, Config
from unet_exp.config.user_data import FolderConfig, UserDataConfig
from unet_exp.console import make_console
from unet_exp.data import load_data
from unet_exp.data.sets.folder import check_exact, find_user_data, name_masks
from unet_exp.errors import DataError, UserError
from unet_exp.figures.contact_sheet import MOST, draw_contact_sheet, make_cell
from unet_exp.figures.legend import class_marks
from unet_exp.folder import groups
from unet_exp.folder.choice import plan_store
from unet_exp.folder.inexact import describe_changed
from unet_exp.folder.label_map import UNKNOWN, LabelMap
from unet_exp.folder.origin import Origin
from unet_exp.folder.pages import used_channels
from unet_exp.folder.reasons import list_reasons
from unet_exp.folder.rules import Rules
from unet_exp.folder.stats import ImageStats
from unet_exp.folder.survey import survey as survey_files
from unet_exp.inspection import findings, survey, tables
from unet_exp.inspection.findings import ClassProposal, Suspicion, Totals
from unet_exp.inspection.proposal import list_start, propose_files, write_words
from unet_exp.inspection.together import find_torn
from unet_exp.inspection.trials import silence_warnings, with_values
from unet_exp.io.valid import Valid
from unet_exp.io.writing import make_output_folder
from unet_exp.metrics.declarations import ScoreFamily
from unet_exp.samples.classes import IGNORE_COLOR, UnknownValues, Values, colorize, decode, object_ids, picture_color
from unet_exp.samples.compatibility import check_fits, score_borders
from unet_exp.samples.data_set import SPLITS, DataSet
from unet_exp.samples.group_counts import GroupCount, warn_of_single_groups
from unet_exp.samples.sample import Sample
from unet_exp.typed import join_words

Seen = tuple[NDArray[Any], NDArray[np.uint8] | None]

SHEET = "contact_sheet.png"
_MOST_MISTAKES = 20


@dataclass(frozen=True)
class _Inspection:
    """Everything that was read.

    Attributes:
        stats: of every usable image.
        parts: the known split of images by name.
        split: images of each part.
        dataset: the images themselves, where they are in memory.
        classes: as configured.
        label_map: of the values in masks.
        objects: whether masks number objects.
        legend: the classes of the contact sheet.
        look: reads an image once more: (H, W, C), and its mask in colours (H, W, 3).
        mistakes: why a training cannot start.
        proposal: other classes, where the configured ones do not fit.
        groups: of the images of each part.
        remarks: lines about these.
    """

    stats: Sequence[ImageStats]
    parts: Mapping[str, str]
    split: Mapping[str, int]
    dataset: DataSet | None
    classes: Sequence[ClassSpec]
    label_map: LabelMap
    objects: bool
    legend: Sequence[ClassSpec]
    look: Callable[[ImageStats], Seen]
    mistakes: list[str]
    proposal: ClassProposal | None = None
    groups: Mapping[str, GroupCount] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def check_data(config: Config, output: Path, command: Sequence[str] = (), typed: Sequence[str] = ()) -> Path:
    """Reads all images and masks, prints statistics and draws some on a contact sheet in the folder `output`.

    Args:
        config: of a training with this data.
        output: the folder of the sheet.
        command: what starts a training; the words of one are printed behind it.
        typed: the words of the config.

    Returns:
        The contact sheet.

    Raises:
        UserError: if a training cannot start with this config, after the contact sheet is written; at once if there is
            nothing to read, or the sheet cannot be written.
    """
    console = make_console()
    inspection = (
        _inspect_folder(config, config.data, console)
        if isinstance(config.data, UserDataConfig)
        else _inspect_built_in(config)
    )
    mistakes, label_map = inspection.mistakes, inspection.label_map
    pixels = {one.item.name: label_map.pixels(one.mask) for one in inspection.stats if one.mask is not None}
    _check_training(config, inspection, pixels)
    suspicions = _find_suspicions(config, inspection, pixels)
    _print_tables(inspection, pixels, suspicions, console)
    sheet = _draw(inspection, pixels, suspicions, output) if inspection.stats else None
    for mistake in mistakes[:_MOST_MISTAKES]:
        console.print(f"mistake: {mistake}", style="red", soft_wrap=True)
    if len(mistakes) > _MOST_MISTAKES:
        console.print(f"and {len(mistakes) - _MOST_MISTAKES} mistakes more", style="red")
    if inspection.proposal is not None:
        tables.print_proposal(inspection.proposal, console)
    if not mistakes:
        console.print("A training can start:")
        console.print(f"\n  {join_words([*command, *list_start(config, typed, inspection.stats)])}\n", soft_wrap=True)
    if sheet is not None:
        shown, known = min(MOST, len(inspection.stats)), len(inspection.stats)
        console.print(
            f"{shown} images" if shown == known else f"{shown} of {known} images", "with their masks over them:"
        )
        console.print(str(sheet), style="bold", soft_wrap=True)
    if mistakes or sheet is None:
        listed = f"{len(mistakes)} mistake{'s' * (len(mistakes) != 1)}, listed above"
        raise DataError(f"data={config.data.name}: a training cannot start with these words: {listed}")
    return sheet


def propose_and_check(config: Config, output: Path, command: Sequence[str], typed: Sequence[str]) -> Path:
    """Finds words for the unknown folder `data.root`, prints them, and checks the data with them; see `check_data`.

    Raises:
        UserError: likewise, and if nothing in the folder looks like images with masks.
    """
    assert isinstance(config.data, FolderConfig)
    proposed = propose_files(config.data)
    values = dict(proposed.values)
    data = with_values(config.data, values)
    with silence_warnings():  # they are told below
        found = _inspect_folder(config.model_copy(update={"data": data}), data, make_console(quiet=True)).proposal
    values |= {} if found is None else found.values()
    console = make_console()
    console.print(f"data.root={config.data.root}: {proposed.pairs} images with masks, by these words:", soft_wrap=True)
    words = ["data=folder", f"data.root={config.data.root}", *write_words(values)]
    console.print(f"\n  {join_words(words)}\n", soft_wrap=True)
    for remark in proposed.remarks:
        console.print(remark, soft_wrap=True)
    config = config.model_copy(update={"data": with_values(config.data, values)})
    found_keys = {word.partition("=")[0] for word in words}
    words += [word for word in typed if word.partition("=")[0] not in found_keys]
    return check_data(config, output, command, words)


def _check_training(config: Config, inspection: _Inspection, pixels: Mapping[str, Counter[int]]) -> None:
    """Adds the mistakes for which a training would stop before its first step."""
    if not inspection.mistakes:
        with _collect_mistake(inspection.mistakes):
            dataset = inspection.dataset or _outline_dataset(inspection, pixels)
            check_fits(config, score_borders(config, dataset))
    trained = [found for name, found in pixels.items() if inspection.parts.get(name) == "train"]
    if trained and all(found.keys() == {IGNORE_LABEL} for found in trained):
        inspection.mistakes.append(
            "data.ignore: all pixels of the training masks are ignored: there is nothing to learn from"
        )


def _find_suspicions(config: Config, inspection: _Inspection, pixels: Mapping[str, Counter[int]]) -> list[Suspicion]:
    stats, parts = inspection.stats, inspection.parts
    suspicions = [*findings.find_suspicious_images(stats, config.data.tile), *findings.find_twins(stats, parts)]
    if pixels and inspection.proposal is None:
        names = [spec.name for spec in inspection.classes]
        suspicions += findings.find_suspicious_classes(
            names, list(pixels.values()), [parts.get(name, "") for name in pixels]
        )
    return suspicions


def _print_tables(
    inspection: _Inspection, pixels: Mapping[str, Counter[int]], suspicions: Sequence[Suspicion], console: Console
) -> None:
    if inspection.stats:
        console.print(tables.tabulate_images(inspection.stats, inspection.split, inspection.groups))
        for line in tables.describe_reading(inspection.stats):
            console.print(line, soft_wrap=True)
    for line in inspection.remarks:
        console.print(line, soft_wrap=True)
    if pixels:
        totals = Totals.of(one.mask for one in inspection.stats if one.mask is not None)
        classes, label_map = inspection.classes, inspection.label_map
        console.print(tables.tabulate_classes(classes, label_map, totals, pixels, inspection.parts, inspection.objects))
    if suspicions:
        console.print(tables.tabulate_suspicions(suspicions))


@contextmanager
def _collect_mistake(mistakes: list[str]) -> Iterator[None]:
    """Adds a user's mistake to the list in place of raising it."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _inspect_built_in(config: Config) -> _Inspection:
    """Inspects data that the program itself reads or makes."""
    dataset = load_data(config.data)
    # With data.split=all an image is in two splits, and counts in the first.
    parts = {sample.name: part for part in reversed(SPLITS) for sample in getattr(dataset, part)}
    samples = {sample.name: sample for part in SPLITS for sample in getattr(dataset, part)}

    def look(stats: ImageStats) -> Seen:
        sample = samples[stats.item.name]
        return sample.image, None if sample.label is None else colorize(sample.label, dataset.classes)

    label_map = LabelMap(dataset.classes, (), objects=False)
    objects = any(sample.instances is not None for sample in samples.values())
    split = {part: len(getattr(dataset, part)) for part in SPLITS}
    stats = survey.survey_samples(dataset)
    return _Inspection(stats, parts, split, dataset, dataset.classes, label_map, objects, dataset.classes, look, [])


def _inspect_folder(whole: Config, config: UserDataConfig, console: Console) -> _Inspection:
    """Inspects a user's own data, whether or not the config fits them."""
    rules = Rules.of(config)
    classes, objects = rules.classes, rules.objects
    mistakes: list[str] = []
    found = survey_files(config, partial(_find_data, mistakes), console=console)
    stats = found.list_stats()
    mistakes += list_reasons(
        (found.pairs[place], error) for place, error in sorted(found.mistakes.items(), key=itemgetter(0))
    )
    with _collect_mistake(mistakes):
        plan = plan_store(config, losses.targets(whole.loss).reach > 0, found.index, np.zeros(0, np.int64))
        if len(found.index.rows):
            console.print(f"a training has these {plan.describe()}", soft_wrap=True)
    if told := describe_changed(found.index, found.pairs, rules):
        console.print(told, soft_wrap=True)
    mistakes += findings.find_differences(stats)
    with _collect_mistake(mistakes):
        named = [(one.item, one.files.image) for one in stats if one.files is not None]
        groups.name_samples([item for item, _ in named], lambda place: named[place][1])
    totals = Totals.of(one.mask for one in stats if one.mask is not None)
    label_map = LabelMap.of(rules)
    proposal = None
    if unknown := sum(label_map.pixels(mask)[UNKNOWN] for mask in totals.masks):
        regions = [] if objects else survey.find_regions(stats, rules)
        if objects:
            least = min(value for value in totals.pixels if isinstance(value, int))
            mistakes.append(
                f"data.masks: {unknown} pixels hold negative numbers, which are no objects; if nothing is known there, "
                f"type data.ignore={least}"
            )
        elif swapped := survey.find_swapped(stats, regions, rules, config):
            mistakes.append(swapped)
        else:
            mistakes.append(
                f"data.classes: {unknown} pixels of the masks have values without a class (none in the table above)"
            )
            proposal = findings.propose_classes(totals, classes, rules.ignored, regions)
    fitting, ignored = (proposal.classes, proposal.ignored) if proposal else (classes, rules.ignored)
    if objects or (proposal and proposal.kind != "classes"):
        fitting = ()

    def look(one: ImageStats) -> Seen:
        _, scene, mask, labelled, *_ = survey.read_page(one, rules)
        return scene.pixels, None if mask is None else _paint_mask(mask, labelled, fitting, ignored)

    parts, counts = _split_images(stats, config, mistakes)
    split = Counter(parts.values())
    remarks = _tell_of_groups(config, parts, counts)
    return _Inspection(
        stats, parts, split, None, classes, label_map, objects, fitting, look, mistakes, proposal, counts, remarks
    )


def _find_data(mistakes: list[str], config: UserDataConfig, known: Mapping[str, NDArray[Any]] | None) -> Origin:
    """Finds images with their masks; one that lacks its mask is a mistake, and is inspected too."""
    try:
        items = find_user_data(config, known)
    except DataError as error:
        items = find_user_data(config, known, lambda _: True)
        mistakes.append(str(error))
    with _collect_mistake(mistakes):
        check_exact(items, config)
    return items


def _split_images(
    stats: Sequence[ImageStats], config: UserDataConfig, mistakes: list[str]
) -> tuple[dict[str, str], dict[str, GroupCount]]:
    """Splits the images, by name, and counts the groups of each part; a mistake where there is no split."""
    labelled = [one.item for one in stats if one.mask is not None]
    parts = {one.item.name: groups.UNLABELLED for one in stats if one.mask is None}
    if not labelled:
        mistakes.append(f"{name_masks(config)}: no image has a mask that can be used: nothing to learn from")
        return parts, {}
    counts: dict[str, GroupCount] = {}
    with _collect_mistake(mistakes):
        split, counts = groups.split_groups(labelled, config)
        parts |= {
            labelled[place].name: part for part, places in zip(groups.PARTS, split, strict=True) for place in places
        }
    return parts, counts


def _tell_of_groups(config: UserDataConfig, parts: Mapping[str, str], counts: Mapping[str, GroupCount]) -> list[str]:
    """Lines about groups of images: too few in a part, and what look like some that are not kept together."""
    fractions = config.split == "fractions" and not config.folds
    alone = warn_of_single_groups(counts, fractions) if not config.folds else None
    by_name = config.split == "fractions" and config.group == "file"
    torn = find_torn(parts) if by_name else None
    return [*([f"warning: {alone}"] if alone else []), *([torn] if torn else [])]


def _outline_dataset(inspection: _Inspection, pixels: Mapping[str, Counter[int]]) -> DataSet:
    """Makes a data set for the checks of a config: each label is one row of the classes in its mask."""
    channels = int(used_channels([one.kind for one in inspection.stats])[0])
    samples: dict[str, list[Sample]] = {part: [] for part in SPLITS}
    for name, part in inspection.parts.items():
        label = np.array([sorted(pixels.get(name, ()))], np.uint8)
        samples[part].append(Sample(name, np.zeros((*label.shape, channels), np.uint8), label))
    metrics: tuple[ScoreFamily, ...] = ("seg",) if inspection.objects else ()
    return DataSet.of(**samples, classes=tuple(inspection.classes), channels=channels, metrics=metrics)


def _paint_mask(
    mask: NDArray[Any], valid: Valid, classes: Sequence[ClassSpec], ignored: Values
) -> NDArray[np.uint8] | None:
    """Paints a mask in the colours of the classes or, where these do not fit, in one for each of its values."""
    try:
        if classes:
            with suppress(UnknownValues):
                painted: NDArray[np.uint8] = colorize(decode(mask, classes, "", ignored, valid), classes)
                return painted
        ids, void = object_ids(mask, "", ignored, valid)
    except DataError:  # told before
        return None
    colors = np.array([picture_color(index) for index in range(32)], np.uint8)
    painted = colors[np.where(ids > 0, 1 + ids % 31, 0)]
    painted[void] = IGNORE_COLOR
    return painted


def _draw(
    inspection: _Inspection, pixels: Mapping[str, Counter[int]], suspicions: Sequence[Suspicion], output: Path
) -> Path:
    """Draws some of the images with their masks over them."""
    make_output_folder(output)
    # A suspicion of most images marks none of them.
    marked = [row for row in suspicions if 2 * len(row.where) <= len(inspection.stats)]
    remarks = {name: row.what for row in reversed(marked) for name in row.where}
    cells = []
    for one in _choose_images(inspection.stats, pixels, [row.where for row in marked]):
        name = one.item.name
        size = f"{one.width} x {one.height} x {one.kind.channels} {one.dtype}"
        remark = " · ".join(word for word in (remarks.get(name), inspection.parts.get(name), size) if word)
        cells.append(make_cell(name, remark, name in remarks, *inspection.look(one)))
    draw_contact_sheet(cells, class_marks(inspection.legend), output / SHEET)
    return output / SHEET


def _choose_images(
    stats: Sequence[ImageStats], pixels: Mapping[str, Counter[int]], suspicious: Sequence[Sequence[str]]
) -> list[ImageStats]:
    """Chooses the image with most of each class, rarest first; two of each suspicion; and others from end to end."""
    totals = sum(pixels.values(), Counter[int]())
    rarest = sorted(totals, key=lambda index: totals[index])[: MOST // 2]
    wanted = [max(pixels, key=lambda name: pixels[name][index]) for index in rarest]
    wanted += [name for names in suspicious for name in names[:2]][: MOST // 4]
    known = {one.item.name: one for one in stats}
    wanted += [stats[place * (len(stats) - 1) // max(1, MOST - 1)].item.name for place in range(MOST)]
    wanted += known
    chosen = [name for name in dict.fromkeys(wanted) if name in known][:MOST]
    return [one for name, one in known.items() if name in chosen]
