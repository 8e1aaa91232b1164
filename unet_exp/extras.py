"""How what is optional gets installed."""

import re
from importlib import metadata
from pathlib import Path


def hint_extra(extra: str) -> str:
    """The command that installs an extra: of the checkout, or where there is none, of the packages that it names.

    Args:
        extra: of pyproject.toml, such as `onnx`.
    """
    if (Path(__file__).resolve().parents[1] / "pyproject.toml").is_file():
        return f"pip install -e '.[{extra}]'"
    # This project is on no package index, and so has no name there.
    needed = [line.partition(";") for line in metadata.requires("unet-exp") or ()]
    chosen = [name.strip() for name, _, marker in needed if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return "pip install " + " ".join(f"'{name}'" for name in chosen)
