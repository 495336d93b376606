"""How figures are drawn: by matplotlib, as SVG that takes its colours and its letters from the page."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator, NullFormatter

from mpigd.report.palette import LINES, PLACEHOLDERS, STEPS, TURN
from mpigd.report.parts import Figure, Table

WIDTH, HEIGHT = 360, 250  # of a figure, in the pixels of a phone
SHORT = 16  # letters, of which two texts have room side by side
MOST_TICKS = 5  # so that numbers beside one another have room
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
INK, MUTED, RULE, PAGE, A, B, C = (PLACEHOLDERS[name] for name in ("ink", "muted", "rule", "page", *LINES))
SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 12.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.pad": 5.0,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "legend.fontsize": 12.5,
    "legend.handlelength": 2.6,
}
# Lines that differ by more than their colour.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": A, "linestyle": "-"},
    {"color": B, "linestyle": (0, (5, 1.5))},
    {"color": C, "linestyle": (0, (5, 1.5, 1, 1.5))},
    {"color": INK, "linestyle": (0, (1, 1.2))},
)


def figure(
    name: str, title: str, alt: str, paint: Callable[[Axes], object], height: float = HEIGHT, table: Table | None = None
) -> Figure:
    """A figure that a function has painted on axes. name : not that of another figure of the page."""
    text = io.StringIO()
    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has other letters
        canvas = Canvas(figsize=(WIDTH / 72, height / 72), layout="constrained")
        axes = canvas.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        paint(axes)
        canvas.savefig(text, format="svg", dpi=72)
    return Figure(name, title, alt, inline(text.getvalue(), name, alt), table)


def inline(text: str, name: str, alt: str) -> str:
    """The SVG that matplotlib writes, made part of a page: identifiers of its own, the page's colours and font."""
    svg = ET.fromstring(text)
    for part in list(svg):
        if part.tag == f"{SVG}metadata" or part.find(f"{SVG}style") is not None:
            svg.remove(part)
    view = svg.attrib["viewBox"]
    svg.attrib.clear()
    svg.attrib.update({"viewBox": view, "role": "img", "aria-label": alt, "class": "drawing"})
    referred = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text))
    for element in svg.iter():
        own = element.attrib.pop("id", None)
        if own in referred:
            element.set("id", f"{name}-{own}")
        if (link := element.attrib.pop(LINK, None)) is not None:
            element.set("href", f"#{name}-{link[1:]}")
        for key, value in element.attrib.items():
            if key == "style":
                element.set(key, _styled(value))
            elif key == "clip-path":
                element.set(key, value.replace("url(#", f"url(#{name}-"))
            elif key == "d":
                element.set(key, " ".join(value.split()))
        element.tail = None
        if element.text and not element.text.strip():
            element.text = None
    ET.register_namespace("", SVG.strip("{}"))
    return ET.tostring(svg, encoding="unicode")


def _styled(style: str) -> str:
    """Without a font, and with the page's colours."""
    style = re.sub(r"\s*font-family:[^;]*;?", "", style)
    for name, colour in PLACEHOLDERS.items():
        style = style.replace(colour, f"var(--{name})")
    return style


def log(axes: Axes, *names: str) -> None:
    """Scale axes, x or y, by powers of ten, and write these without the markup of matplotlib."""
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())


def cells(
    axes: Axes, levels: np.ndarray, scale: str, rows: Sequence[str], columns: Sequence[str], most_ticks: int = 16
) -> None:
    """Paint squares (rows, columns) in the steps of a scale of the palette; negative ones are left out."""
    for step in range(STEPS):
        places = np.argwhere(levels == step)
        if len(places):
            corners = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]) - 0.5
            codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
            vertices = (places[:, None, ::-1] + corners).reshape(-1, 2)
            outline = Outline(vertices, codes * len(places))
            axes.add_patch(PathPatch(outline, facecolor=PLACEHOLDERS[f"{scale}{step}"], edgecolor="none"))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.grid(False)
    axes.tick_params(length=0)
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        shown = range(0, len(names), -(-len(names) // most_ticks))
        axis.set_ticks(list(shown), [names[k] for k in shown])


def on_step(step: int) -> str:
    """The colour of text on a step of the scale s."""
    return INK if step < TURN else PAGE


def step_of(share: np.ndarray) -> np.ndarray:
    """The step of a scale that stands for a share, 0 to 1."""
    return np.minimum((share * STEPS).astype(np.int64), STEPS - 1)


def legend(axes: Axes) -> None:
    """A legend above the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) <= SHORT else 1
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns, borderaxespad=0.2)
