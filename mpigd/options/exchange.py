"""The options of `export` and `import`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from mpigd.options.base import Output, require


@dataclass(frozen=True)
class Export(Output):
    """Write MODEL to OUTPUT for other programs: as ONNX, PMML or JSON."""

    model: Path
    """A model.h5 that train wrote, or its run directory."""

    output: Path
    """File to write; its ending, .onnx, .pmml or .json, says what it is to be."""

    _: KW_ONLY

    format: Literal["onnx", "pmml", "json"] | None = None
    """What it is to be, whatever the ending."""

    float32: bool = False
    """ONNX in single precision, for programs and devices that have no other."""

    @property
    def chosen(self) -> str:
        """The format that is asked for, by either way."""
        return self.format or self.output.suffix.lower().removeprefix(".")

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.chosen in ("onnx", "pmml", "json")
        require(known, str(self.output), "", "an ending .onnx, .pmml or .json, or --format")
        require(not self.float32 or self.chosen == "onnx", "--float32", "", "the format onnx")


@dataclass(frozen=True)
class Import(Output):
    """Make a model.h5, OUTPUT, of a model that another program wrote; nothing in it is executed."""

    file: Path
    """A .json as `mpigd export` writes it, or a .skops that holds a linear model of scikit-learn."""

    output: Path
    """File to write."""

    def __post_init__(self) -> None:
        super().__post_init__()
        pickled = self.file.suffix in (".pkl", ".pickle", ".joblib")
        way = "no pickle, which runs code: use mpigd.exchange.from_sklearn in Python, or skops"
        require(not pickled, str(self.file), "", way)
        require(self.file.suffix in (".json", ".skops"), str(self.file), "", "an ending .json or .skops")
