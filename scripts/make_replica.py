"""Write a tiny replica of a public data set: `python scripts/make_replica.py <name> <folder>`; `all` writes each.

`python scripts/make_replica.py page` writes docs/datasets.md again.
"""

import sys
from pathlib import Path

import installed  # noqa: F401
from replicas import DATA_SETS, page


def main(words: list[str]) -> None:
    if words == ["page"]:
        page.write()
        return
    known = ", ".join(DATA_SETS)
    if len(words) != 2:
        raise SystemExit(f"error: type a name and a folder, or page; the names are all, {known}")
    name, folder = words[0], Path(words[1])
    if name != "all" and name not in DATA_SETS:
        raise SystemExit(f"error: {name}: no such data set; the names are all, {known}")
    for one in DATA_SETS.values() if name == "all" else [DATA_SETS[name]]:
        root = folder / one.name
        if root.exists():
            raise SystemExit(f"error: {root} is there already; remove it, or name another folder")
        one.write(root)
        print(root)


if __name__ == "__main__":
    main(sys.argv[1:])
