"""Every option, defined once: the command line, files of options, the environment and the Python API follow from here.

A command is a dataclass; its positional fields are the arguments of the command, the others its options, and the text
under a field is its help. The class that defines an option is its group in the help. These modules import nothing
heavy: all ranks load them.
"""

from mpigd.options.base import Group, parse_bytes, parse_class_weight, parse_seconds
from mpigd.options.convert import Convert
from mpigd.options.exchange import Export, Import
from mpigd.options.explain import Explain
from mpigd.options.fit import RUNNING, Plan, Train
from mpigd.options.generate import Generate
from mpigd.options.models import Demo, Evaluate, Inspect, Predict, Report, Verify
from mpigd.options.tune import Tune

OfModels = Predict | Evaluate | Verify | Explain | Inspect | Report | Export | Import
Options = Train | Tune | Plan | OfModels | Generate | Convert | Demo

__all__ = [
    "RUNNING",
    "Convert",
    "Demo",
    "Evaluate",
    "Explain",
    "Export",
    "Generate",
    "Group",
    "Import",
    "Inspect",
    "Options",
    "Plan",
    "Predict",
    "Report",
    "Train",
    "Tune",
    "Verify",
    "parse_bytes",
    "parse_class_weight",
    "parse_seconds",
]
