"""Names of classes where there is little room."""


def shorten(name: str, most: int) -> str:
    """A name of at most so many letters; what is cut is in its middle, since long names differ at either end."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"
