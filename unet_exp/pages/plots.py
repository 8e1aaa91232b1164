"""Plots of pages: SVG whose ink has the page's text colour, readable on white and on dark.

A plot of ours is five inches wide, 360 px: a phone shows it in full size.
"""

import html
import re
from dataclasses import dataclass
from io import StringIO
from typing import Any

from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#c972a3", "#b87a00", "#2e97cf", "#7f7f7f")
"""Okabe and Ito's colours, three darkened for a contrast of at least 3 on white and on the dark page."""

INK, PAPER = "#0a0b0c", "#0c0b0a"
"""Replaced by the page's colours of text and of background."""
WIDTH = 5.0
"""Of a plot, inches."""
STYLE: Any = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "unet_exp",
}


@dataclass(frozen=True)
class Plot:
    """A drawing for a page: a title, a caption that explains it, and an `<svg>` element with unique ids."""

    title: str
    caption: str
    svg: str


def embed(figure: Figure, name: str, title: str, caption: str) -> Plot:
    """The figure as an element of a page: ids made unique by `name`, `INK` replaced, no address of a server.

    Args:
        figure: drawn with `STYLE`.
        name: of the plot on its page.
        title: see `Plot`.
        caption: see `Plot`.
    """
    text = StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    svg = text.getvalue()
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :]
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL)
    prefix = re.sub(r"\W", lambda found: f"-{ord(found[0])}-", name)  # names of scores differ in any character
    inner = re.sub(r'\bid="', f'id="{prefix}-', inner)
    inner = re.sub(r'xlink:href="#', f'href="#{prefix}-', inner).replace("url(#", f"url(#{prefix}-")
    width, height = (72 * side for side in figure.get_size_inches())
    alt = html.escape(f"{title}. {caption}")
    opening = f'<svg viewBox="0 0 {width:.6g} {height:.6g}" role="img" aria-label="{alt}">'
    return Plot(title, caption, opening + inner.strip().replace(INK, "currentColor").replace(PAPER, "var(--page)"))
