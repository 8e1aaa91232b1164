"""What the page of a run says in words, from its summary and its config."""

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import EngFormatter

from unet_exp.console import name_commands
from unet_exp.runs.conditions import PRECISIONS
from unet_exp.runs.summary import Summary
from unet_exp.typed import join_words

_NETWORK = (
    "target",
    "encoder",
    "weights",
    "depth",
    "width",
    "norm",
    "upsample",
    "block",
    "padding",
    "dropout",
    "match",
)
_TRAINER = ("max_epochs", "max_steps", "max_time", "accumulate", "clip_norm", "ema_decay", "monitor", "early_stopping")


def name_status(summary: Summary) -> tuple[str, str]:
    """The status in words, and the tone in which the page shows it."""
    if summary.pruned_at is not None:
        return f"pruned by the search after {summary.pruned_at} steps", "few"
    tones = {"finished": "better", "failed": "worse", "stopped": "few"}
    status = summary.status or "unknown"
    if status == "finished" and summary.planned_steps is not None:  # it was to go on
        return status, "few"
    return status, tones.get(status, "unclear")


def describe_result(summary: Summary) -> str:
    """How far it came, and its best epoch, in a sentence or two."""
    if summary.checkpoint is not None:
        return ""
    reach = summary.describe_reach()
    parts = [reach[0].upper() + reach[1:]]
    if summary.epochs:
        parts[0] += f" in {_count(summary.epochs, 'epoch')}"
    if summary.seconds_training is not None:
        parts.append(f"{format_seconds(summary.seconds_training)} of training with validations")
    if summary.seconds_test is not None:
        parts.append(f"{format_seconds(summary.seconds_test)} of tests")
    best = summary.best
    scored = "" if best is None or best.value is None else f" Best epoch: {best.monitor} {best.value:.4f}."
    return f"{', '.join(parts)}.{scored}"


def list_words(summary: Summary) -> str | None:
    """The command line; None where it is not recorded."""
    if summary.overrides is None:
        return None
    return name_commands(f"python scripts/train.py {join_words(summary.overrides)}".rstrip())


def list_facts(summary: Summary, config: Mapping[str, Any]) -> dict[str, str]:
    """Names and texts; what is not known is left out."""
    facts = {
        "network": _describe_group(config, "model", _NETWORK),
        "skip fusion": config.get("fusion.name"),
        "size": _describe_size(summary),
        "loss": _describe_group(config, "loss"),
        "augmentation": _describe_augmentation(config),
        "optimizer": _describe_group(config, "optimizer"),
        "schedule": _describe_group(config, "scheduler"),
        "data": _describe_data(summary, config),
        "pixel size": _describe_pixel_size(config),
        "own scores": _describe_listed(config.get("metrics.own"), "name"),
        "callbacks": _describe_listed(config.get("callbacks"), "target"),
        "limits": _describe_group(config, "trainer", _TRAINER, word=False),
        "seed": summary.seed,
        "fold": summary.fold,
        "checkpoint": _join(summary.checkpoint),
        "of step": _join(summary.step),
        "started": None if summary.started is None else summary.started.replace("T", " ").partition(".")[0],
        "resumed": _count_times(len(summary.resumed or ())),
        "device": _join([summary.device, PRECISIONS.get(summary.precision or "", summary.precision)]),
        "processes, threads": None if summary.processes is None else f"{summary.processes}, {summary.threads}",
        "peak memory": None if not summary.peak_memory else EngFormatter("B", places=1)(summary.peak_memory),
        "git commit": None
        if summary.git is None
        else summary.git.commit[:10] + (" (with changes)" if summary.git.changed else ""),
        "versions": _join([f"{name} {version}" for name, version in (summary.versions or {}).items()]),
    }
    return {name: str(text) for name, text in facts.items() if text not in (None, "")}


def list_own_files(summary: Summary, config: Mapping[str, Any]) -> list[str]:
    """The words that choose a file of the user's own, which needs `--config-dir`; it has the name of another."""
    pairs = [word.partition("=")[::2] for word in summary.overrides or ()]
    return [f"{key}={value}" for key, value in pairs if config.get(f"{key}.name", value) != value and value[:1] != "["]


def describe_distances(summary: Summary, config: Mapping[str, Any]) -> str | None:
    """The unit and the tolerance of the distances; None without such."""
    if summary.distance_unit is None:
        return None
    tolerance = config.get("metrics.tolerance")
    text = "the longer side of a pixel" if tolerance is None else f"{tolerance:g}"
    return f"Distances in {summary.distance_unit}; tolerance of the surface Dice: {text}."


def format_seconds(seconds: float) -> str:
    """`3.2 s`, `2.5 min`, `1.4 h`."""
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _count_times(number: int) -> str | None:
    return (None, "once", "twice")[number] if number < 3 else f"{number} times"


def _describe_group(config: Mapping[str, Any], group: str, keys: tuple[str, ...] = (), word: bool = True) -> str:
    """The word of a group, and its keys that say something: all, or these."""
    found = {key.removeprefix(f"{group}."): value for key, value in config.items() if key.startswith(f"{group}.")}
    chosen = [key for key in (keys or found) if key in found and key != "name" and found[key] not in (None, "none", [])]
    texts = [f"{key} {found[key]}" for key in chosen]
    return ", ".join([*([str(found.get("name"))] if word and "name" in found else []), *texts])


def _describe_augmentation(config: Mapping[str, Any]) -> str:
    """The word and, of lists and own classes, what it does."""
    texts = [str(config.get("augmentation.name", "")), str(config.get("augmentation.target") or "")]
    if listed := config.get("augmentation.transforms"):
        texts.append(_describe_transforms(listed))
    if then := config.get("augmentation.then"):
        texts.append(f"then {_describe_transforms(then)}")
    return ": ".join(filter(None, (texts[0], "; ".join(filter(None, texts[1:])))))


def _describe_transforms(entries: object) -> str:
    """`D4 (p 1), OneOf (p 0.5, of RandomGamma, GaussNoise)`; the file may be anybody's."""
    texts = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            inside = [f"of {_describe_transforms(entry['transforms'])}"] if entry.get("transforms") else []
            given = [f"{key} {value}" for key, value in entry.items() if key not in ("name", "transforms")]
            more = ", ".join([*given, *inside])
            texts.append(f"{entry.get('name')} ({more})" if more else str(entry.get("name")))
    return ", ".join(texts)


def _describe_listed(entries: object, key: str) -> str:
    """A list of own classes: what each is called, and its class and arguments."""
    texts = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            values = entry.get("params")
            given = [f"{name} {value}" for name, value in values.items()] if isinstance(values, Mapping) else []
            more = ", ".join([*([] if key == "target" else [str(entry.get("target"))]), *given])
            texts.append(f"{entry.get(key)} ({more})" if more else str(entry.get(key)))
    return ", ".join(texts)


def _describe_pixel_size(config: Mapping[str, Any]) -> str | None:
    size = config.get("data.pixel_size")
    return " x ".join(map(str, size)) if isinstance(size, list) else _join(size)


def _describe_size(summary: Summary) -> str | None:
    if summary.parameters is None:
        return None
    text = f"{summary.parameters:,} parameters"
    if summary.macs is not None:
        text += f", {EngFormatter(places=1)(summary.macs).strip()} MACs of one training input"
    if summary.width is not None and summary.width.requested != summary.width.resolved:
        text += f"; width {summary.width.requested} matched to {summary.width.resolved}"
    return text


def _describe_data(summary: Summary, config: Mapping[str, Any]) -> str:
    counts = summary.split_counts or {part: len(names) for part, names in (summary.split or {}).items()}
    parts = [f"{part} {count:,}" for part, count in counts.items() if count]
    texts = [str(config.get("data.name")), *([f"images: {', '.join(parts)}"] if parts else [])]
    if config.get("data.tile"):
        texts.append(f"patches of {config['data.tile']} pixels, {config.get('data.batch_size')} a batch")
    if summary.data_fingerprint:
        texts.append(f"fingerprint {summary.data_fingerprint[:10]}")
    return "; ".join(texts)


def _join(values: Any) -> str | None:
    if not isinstance(values, list):
        return None if values is None else str(values)
    return ", ".join(str(value) for value in values if value is not None) or None
