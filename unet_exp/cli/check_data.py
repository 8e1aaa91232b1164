"""The command check_data: inspects images and masks before a training."""

from pathlib import Path

from unet_exp.cli.entry import print_usage, report_user_errors
from unet_exp.cli.mistyped import refuse_bare_paths
from unet_exp.cli.words import read_words
from unet_exp.console import name_commands

USAGE = """Check images and masks before a training.

Usage: python scripts/check_data.py data=folder data.images=... data.masks=... [key=value] ...
       python scripts/check_data.py data=folder data.root=<folder>

Takes the words of scripts/train.py, and --config-dir, and reads every file once. It prints the sizes, types and values
of the images, the classes of the masks, and what is suspicious; and draws images with their masks over them.
data.classes need not be right: if masks hold other values, it prints the classes that would fit. With data.root alone
it looks for images and masks in a folder, prints the words that name them, and checks the data with these.

  output  the folder of contact_sheet.png (outputs/check_data/<data>); an existing one is replaced

The exit code is 0 if a training accepts these images and masks with the same words, and 2, with the reason, if not.

Examples:
  python scripts/check_data.py data=folder data.images=scans/images data.masks=scans/masks
  python scripts/check_data.py --config-dir mine data=tissue data.tile=128
  python scripts/check_data.py data=isbi2012 data.root=path/to/isbi2012 output=look
"""


_FILES = ("data.images", "data.masks")


def main() -> None:
    """Runs `scripts/check_data.py`."""
    if print_usage(USAGE):
        return
    with report_user_errors():
        overrides, config_dir = read_words()
        refuse_bare_paths(overrides)

        from unet_exp.compose import compose_command, parse_overrides

        config = compose_command(overrides, config_dir).parse()
        typed = {override.key_or_group: override.value() for override in parse_overrides(overrides)}
        word = str(typed.get("data", config.data.name))  # of the user's own configs, where it is one
        output = Path(config.output) if "output" in typed else Path(config.output, "check_data", *word.split("/"))
        unknown = "data.root" in typed and config.data.name == "folder" and typed.keys().isdisjoint(_FILES)

        # Only now: a mistake in the config needs none of its imports.
        from unet_exp.inspection.check import check_data, propose_and_check

        folder = ["--config-dir", config_dir] if config_dir else []
        command = [*name_commands("python scripts/train.py").split(), *folder]
        words = [word for word in overrides if not word.startswith("output=")]
        (propose_and_check if unknown else check_data)(config, output, command, words)
