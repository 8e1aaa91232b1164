"""The command preview: the first patches of a training, without the training."""

from pathlib import Path

from unet_exp.cli.entry import print_usage, report_user_errors
from unet_exp.cli.words import read_words
from unet_exp.errors import UserError

USAGE = """Look at the first patches of a training as the network will see them, without training.

Usage: python scripts/preview.py [word or key]=[value] ...

Takes the words of scripts/train.py, and --config-dir, checks them as it does, reads the data, and draws the patches
that a training with these words begins with: the network's input after augmentation and normalisation, the label, and
the weights of the loss where it has any. Ignored pixels are striped blue; pixels from beyond the image, which are
mirrored, striped pink.

  preview  how many patches (16); fewer where an epoch has fewer
  output   preview.png goes to a new folder below <output>/preview (outputs)

Nothing is sent to a logger; train.py preview=16 draws the same picture into the run's folder and sends it.

Examples:
  python scripts/preview.py experiment=small augmentation=paper
  python scripts/preview.py data=isbi2012 data.root=path/to/isbi2012 loss=border_weighted preview=4
  python scripts/preview.py --config-dir mine data=tissue augmentation=strong
"""

COUNT = 16
"""Patches, where no number is typed."""
_OTHER = {
    "resume": "it shows the start of a new training; leave it out",
    "rerun": "it shows the start of a new training; type the words of the earlier one, which its summary.json lists",
    "search": "it shows one training; leave it out and give each key one value",
}


def main() -> None:
    """Runs `scripts/preview.py`."""
    if print_usage(USAGE):
        return
    with report_user_errors():
        words, config_dir = read_words()

        from unet_exp.cli.command import check_own_names
        from unet_exp.compose import compose_command, parse_overrides

        typed = {override.key_or_group: override for override in parse_overrides(words)}
        for key, reason in _OTHER.items():
            if key in typed and typed[key].value() not in (None, "none"):
                raise UserError(f"{typed[key].input_line}: {reason}")
        if "preview" not in typed:
            words = [*words, f"preview={COUNT}"]
        config = compose_command(words, config_dir).parse()
        if not config.preview:
            raise UserError("preview=0: there is nothing to show; give the number of patches, from 1 to 100")
        check_own_names(config)

        # Only now: a mistake in the config needs none of its imports.
        from unet_exp.console import make_console
        from unet_exp.io.writing import write_image
        from unet_exp.progress import watch
        from unet_exp.runs.run_folder import RunFolder
        from unet_exp.training.prepare import prepare
        from unet_exp.training.preview import make_preview

        with watch("preparing the training"):
            job = prepare(config, words)
        with watch("drawing the preview"):
            preview = make_preview(job, config.preview)
        folder = RunFolder.create(Path(config.output) / "preview", config.name)
        write_image(folder.preview, preview.picture)
        console = make_console()
        for line in preview.facts:
            console.print(line, soft_wrap=True)
        console.print(str(folder.preview), style="bold", soft_wrap=True)
