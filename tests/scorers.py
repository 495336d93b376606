"""Scores rows by PMML with another library: `python scorers.py LIBRARY FILE…` reads rows as JSON, prints answers so.

A process of its own, since these libraries run Java in it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

Rows = list[dict[str, float]]


def by_pypmml(path: str, rows: Rows) -> Rows:
    """PMML4S, in Scala."""
    from pypmml import Model

    model = Model.load(path)
    return [dict(model.predict(row)) for row in rows]


def by_jpmml(path: str, rows: Rows) -> Rows:
    """JPMML-Evaluator, in Java."""
    from jpmml_evaluator import make_evaluator

    evaluator = make_evaluator(path, backend="jpype").verify()
    return [evaluator.evaluate(row) for row in rows]


if __name__ == "__main__":
    library, *paths = sys.argv[1:]
    given: Rows = json.load(sys.stdin)
    by: Any = {"pypmml": by_pypmml, "jpmml_evaluator": by_jpmml}[library]
    print(json.dumps({path: by(path, given) for path in paths}))
