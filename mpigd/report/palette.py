"""Colours by what they are for, in light and in dark.

Text and lines have a contrast of 4.5 at least against what is behind them (WCAG 2.1, 1.4.3 and 1.4.11). Lines can be
told apart by people who see two primary colours only; they differ by their dashes as well. Tests compute both.
"""

from __future__ import annotations

LINES = ("a", "b", "c")
STEPS = 9  # of a scale from little to much
TURN = 5  # the step of a scale from which on text on it has the colour of the page

# A scale skips the middle, on which no text can be read.
_LIGHT_SCALE = "#eff5fb #d9e8f6 #c0d9f0 #a6c9e9 #8cb9e1 #2f74b5 #1f5f9e #114a85 #08366a"
_DARK_SCALE = "#141c26 #162a40 #17375a #1a4674 #1d548d #5fabf2 #86c1f6 #aed6fa #d6ebfd"
# From negative by nothing to positive.
_LIGHT_SIGNS = "#8f3600 #c25a17 #e39a66 #f3cfb5 #f2f3f5 #bcd6ee #7aaede #2f74b5 #08366a"
_DARK_SIGNS = "#ffc59b #f0883e #b4622a #5e3a22 #20262e #1f3f60 #2a6cab #5fabf2 #b9dcfb"


def _scale(prefix: str, colours: str) -> dict[str, str]:
    return {f"{prefix}{step}": colour for step, colour in enumerate(colours.split())}


LIGHT = {
    "page": "#ffffff",
    "card": "#f6f8fa",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "rule": "#d0d7de",
    "a": "#0a4f8f",
    "b": "#c04a00",
    "c": "#9a2be0",
    **_scale("s", _LIGHT_SCALE),
    **_scale("d", _LIGHT_SIGNS),
}
DARK = {
    "page": "#0d1117",
    "card": "#161b22",
    "ink": "#e6edf3",
    "muted": "#9aa4af",
    "rule": "#30363d",
    "a": "#4ea3f0",
    "b": "#f0883e",
    "c": "#f4e04d",
    **_scale("s", _DARK_SCALE),
    **_scale("d", _DARK_SIGNS),
}

# What figures are drawn with, to be replaced by what the page calls the colour.
PLACEHOLDERS = {name: f"#0000{number:02x}" for number, name in enumerate(LIGHT, start=1)}


def css(colours: dict[str, str]) -> str:
    """The colours as variables of a style sheet."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
