"""Pages about runs: what they say, against scikit-learn; how they are made; and what a browser makes of them."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from browser import PROGRAM, Browser
from conftest import load_table, mpirun
from sklearn import metrics

from mpigd.comm import Comm
from mpigd.errors import DataError
from mpigd.model import Model
from mpigd.options import Report, Train
from mpigd.report import page, palette, progress
from mpigd.report.job import measured
from mpigd.report.parts import Section
from mpigd.report.source import read_run
from mpigd.report.tuning import surface
from mpigd.train import run

NAMES = ["age", "<script>alert(1)</script>", "x" * 200, "$x^2_{", "温度", "a\x07b\n"]


class Page(HTMLParser):
    """Elements of a page, with their attributes, and the text of all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.source = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run directories of fits of each kind, with their pages."""
    directory, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    X = rng.standard_normal((900, 6))
    eta = X @ [0.8, -0.5, 0.3, 0.0, 0.0, 0.1]
    centres = 2.0 * rng.standard_normal((40, 5))
    label = rng.integers(0, 40, 1500)
    wide = rng.standard_normal((300, 400))
    data = {
        "counts": (X, rng.poisson(np.exp(eta + 1.0)).astype(float)),
        "quantile": (X, eta + rng.standard_t(4, 900)),
        "outputs": (X, np.column_stack([eta, eta**2])),
        "many": (centres[label] + rng.standard_normal((1500, 5)), label.astype(float)),
        "wide": (wide, wide[:, :50].sum(axis=1) + rng.standard_normal(300)),
    }
    options = {
        "counts": {"loss": "poisson", "test_share": 0.25},
        "quantile": {"loss": "quantile", "loss_parameter": 0.8, "validation_share": 0.2, "patience": 5},
        "outputs": {},
        "many": {"loss": "softmax", "l2": 0.01, "test_share": 0.3},
        "wide": {"l1": 0.1, "path": 5},
        "two": {"loss": "logistic", "l2": 0.01},
        "sides": {"loss": "squared-hinge", "l2": 0.01, "test_share": 0.3},
    }
    found = {}
    for name, chosen in options.items():
        path = load_table("breast_cancer").path
        if name in data:
            path = directory / f"{name}.h5"
            with h5py.File(path, "w") as file:
                file["X"], file["y"] = data[name]
                if name == "counts":
                    file.create_dataset("feature_names", data=NAMES, dtype=h5py.string_dtype())
        found[name] = directory / name
        run(Comm.alone(), Train(data=path, run_dir=found[name], report=True, **chosen))
        page.write(found[name])
    return found


@pytest.fixture
def pages(runs: dict[str, Path]) -> dict[str, Page]:
    return {name: Page((path / "report.html").read_text(encoding="utf-8")) for name, path in runs.items()}


def test_a_page_stands_for_itself(pages: dict[str, Page]) -> None:
    for name, found in pages.items():
        identifiers = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
        assert len(identifiers) == len(set(identifiers)), name
        used = set(re.findall(r"url\(#([^)]+)\)", found.source))
        for tag, attributes in found.elements:
            for key in ("href", "src", "xlink:href", "action", "data", "srcset"):
                if key in attributes and attributes[key] != "data:,":
                    assert attributes[key].startswith("#"), (name, tag, attributes)
                    used.add(attributes[key][1:])
        assert used <= set(identifiers)
        assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in found.elements}
        assert set(re.findall(r"https?://[^\"'\s<]+", found.source)) <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in found.source


def test_a_page_can_be_heard(pages: dict[str, Page]) -> None:
    for found in pages.values():
        assert found.all("html") == [{"lang": "en"}]
        assert len(found.all("h1")) == len(found.all("main")) == 1
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all("meta")
        drawings = found.all("svg")
        assert len(drawings) == len(found.all("figcaption")) >= 3
        for drawing in drawings:
            assert drawing["role"] == "img"
            assert re.fullmatch(r"[A-Z0-9].{40,}\.", drawing["aria-label"]), drawing["aria-label"]
        assert len(found.all("caption")) == len(found.all("table"))
        assert all("scope" in cell for cell in found.all("th"))
        assert all(
            {"tabindex", "role", "aria-label"} <= set(part)
            for part in found.all("div")
            if part.get("class") == "scroll"
        )


def test_figures_take_their_colours_from_the_page(pages: dict[str, Page]) -> None:
    for found in pages.values():
        drawn = "".join(re.findall(r"<svg.*?</svg>", found.source, re.DOTALL))
        assert not re.findall(r"#[0-9a-f]{6}\b", drawn)
        assert "font-family" not in drawn
        assert set(re.findall(r"var\(--(\w+)\)", found.source)) <= palette.LIGHT.keys() == palette.DARK.keys()


def test_the_same_directory_gives_the_same_page(runs: dict[str, Path]) -> None:
    for path in (runs["two"], runs["wide"]):
        assert page.render(read_run(path)) == (path / "report.html").read_text(encoding="utf-8")


def test_what_is_said_of_two_classes(runs: dict[str, Path], pages: dict[str, Page]) -> None:
    table, model = load_table("breast_cancer"), Model.load(runs["two"] / "model.h5")
    probability = model.predict_proba(table.X)[:, 1]
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td></tr>', pages["two"].source))
    expected = {
        "ROC AUC": metrics.roc_auc_score(table.y, probability),
        "log loss": metrics.log_loss(table.y, probability),
        "F1": metrics.f1_score(table.y, probability >= 0.5, average="macro"),
    }
    for name, value in expected.items():
        assert float(rows[name]) == pytest.approx(value, rel=1e-3), name
    (roc,) = [d["aria-label"] for d in pages["two"].all("svg") if "false positive rate" in d["aria-label"]]
    assert f"area {expected['ROC AUC']:.4g}" in roc
    assert model.fingerprint in pages["two"].text


def test_what_belongs_to_a_loss_is_there(pages: dict[str, Page]) -> None:
    titles = {name: set(re.findall(r"<figcaption>(.*?)</figcaption>", found.source)) for name, found in pages.items()}
    assert {"Calibration", "Confusion matrix", "Coefficients"} <= titles["two"]
    assert "Calibration" in titles["many"]
    assert "Calibration" not in titles["sides"]
    assert "Distribution of residuals" in titles["counts"]
    assert "deviance residual" in pages["counts"].source
    assert {"Share of y below the fitted quantile", "Loss on rows to validate"} <= titles["quantile"]
    assert {"Fitted and observed, output 0", "Fitted and observed, output 1"} <= titles["outputs"]
    assert "Coefficients along the path of penalties" in titles["wide"]
    assert all("Time by phase and rank" in some for some in titles.values())


def test_names_are_text(pages: dict[str, Page]) -> None:
    found = pages["counts"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found.source
    assert {"<script>alert(1)</script>", "$x^2_{", "温度", "a�b�"} <= set(found.text.split("\n"))
    assert "\x07" not in found.source


def test_a_page_stays_small(pages: dict[str, Page]) -> None:
    assert all(len(found.source) < 400_000 for found in pages.values())
    assert "the 30 largest of 400 coefficients" in pages["wide"].source or "the 100 largest" in pages["wide"].source
    assert sum(line.startswith("x") for line in pages["wide"].text.split("\n")) <= 140


def test_a_run_that_has_not_ended(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("config.toml", "history.jsonl"):
        (tmp_path / name).write_bytes((runs["two"] / name).read_bytes())
    (tmp_path / "STATUS").write_text("running\n")
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 9, "pas')  # cut short
    (tmp_path / "events.jsonl").write_text('{"event": "ranks lost", "time": "now", "left": 2}\n')
    found = Page(page.render(read_run(tmp_path)))
    assert len(found.all("svg")) == 2
    assert "ranks lost" in found.text
    assert "running, or killed" in found.text
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    (tmp_path / "history.jsonl").write_text("\n".join([lines[0][:9], *lines[1:]]))
    with pytest.raises(DataError, match=r"history\.jsonl: line 1 is damaged"):
        read_run(tmp_path)
    (tmp_path / "config.toml").write_text("[train")
    with pytest.raises(DataError, match=r"config\.toml: damaged"):
        read_run(tmp_path)
    with pytest.raises(DataError, match="not the directory of a run"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_a_report_needs_is_named(missing: str) -> None:
    code = f"""
import sys
sys.modules['{missing}'] = None
from mpigd.errors import UsageError
try:
    import mpigd.report.page
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"a report needs {missing}: pip install 'mpigd[report]'\n"


def luminance(colour: str) -> np.ndarray:
    """Linear red, green and blue, (3,) (IEC 61966-2-1)."""
    value = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    linear: np.ndarray = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear


def contrast(one: str, other: str) -> float:
    """As WCAG 2.1 defines it."""
    low, high = sorted(float(luminance(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_contrast(colours: dict[str, str]) -> None:
    for behind, name in itertools.product(("page", "card"), ("ink", "muted", *palette.LINES)):
        assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
    for step in range(palette.STEPS):
        text = "ink" if step < palette.TURN else "page"
        assert contrast(colours[text], colours[f"s{step}"]) >= 4.5, step


# What people see who lack one kind of cones (G. Machado et al., "A physiologically-based model for simulation of color
# vision deficiency", IEEE Trans. Vis. Comput. Graph. 15, 2009, severity 1).
LACKING = {
    "none": np.eye(3),
    "long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear red, green and blue."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x = to_xyz @ np.clip(linear, 0.0, 1.0) / [0.9505, 1.0, 1.089]
    f = np.where(x > 216.0 / 24389.0, np.cbrt(x), (24389.0 / 27.0 * x + 16.0) / 116.0)
    return np.array([116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])])


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_lines_can_be_told_apart(colours: dict[str, str], lacking: str) -> None:
    seen = [lab(np.array(LACKING[lacking]) @ luminance(colours[name])) for name in palette.LINES]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20.0


def made_up(options: int) -> Any:
    """A search over so many options, of which one candidate has no score."""
    grid = {"l2": [0.01, 0.1, 1.0, 10.0], "learning_rate": [0.1, 1.0], "averaging": [True, False]}
    names = list(grid)[:options]
    candidates = [dict(zip(names, values, strict=True)) for values in itertools.product(*(grid[k] for k in names))]
    scores = [None if k == 0 else abs(candidate["l2"] - 1.0) + 0.1 for k, candidate in enumerate(candidates)]
    errors = [None if score is None else 0.05 for score in scores]
    best = next(k for k, candidate in enumerate(candidates) if candidate["l2"] == 1.0)
    return surface(candidates, scores, errors, "log_loss", best, len(candidates) - 1)


@pytest.mark.parametrize(("options", "begins"), [(1, "Dots"), (2, "Squares"), (3, "A line for each of 16")])
def test_a_search_for_options(options: int, begins: str) -> None:
    found = made_up(options)
    assert found.alt.startswith(begins)
    assert "the best log_loss is 0.1 ± 0.05, of l2 1" in found.alt
    assert found.table.rows[0][0] == "1"
    assert found.table.rows[0][-2:] == ("0.1", "0.05")
    assert found.table.rows[-1][-2:] == ("–", "–")
    assert surface([{"l2": 1.0}], [0.1], [0.0], "r2", 0, 0) is None


def test_a_search_is_told_of(runs: dict[str, Path]) -> None:
    trials = [{"values": {"l2": l2}, "mean": 1.0 - l2, "standard_error": 0.1, "note": ""} for l2 in (0.0, 0.5)]
    told = {"score": "r2", "rule": "one-se", "folds": 5, "best": 0, "chosen": 1, "trials": trials}
    found = Page(page.render(replace(read_run(runs["two"]), tuning=told)))
    assert "Tuning: r2" in found.text
    assert "l2 0.5" in found.text


@pytest.mark.mpi
def test_curves_of_a_model_are_the_same_on_any_number_of_ranks(comm: Comm, shared_path: Path) -> None:
    path, table = shared_path / "run", load_table("breast_cancer").path
    run(comm, Train(data=table, run_dir=path, loss="logistic", test_share=0.3, max_passes=3))
    comm.leave()
    for on in (None, "train", "all"):
        options = Report(path, data=table, on=on)
        found = [json.dumps(measured(some, options), allow_nan=False) for some in (comm, Comm.alone())]
        assert found[0] == found[1]
        assert json.loads(found[0])["on"] == (on or "test")


def test_reports_of_jobs(tmp_path: Path) -> None:
    table = load_table("boston").path
    done = mpirun("train", table, "--report", "--run-dir", tmp_path / "run", "--json", ranks=2)
    assert done.status == 0, done.err
    first = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Residuals, rows to train" in first
    assert "with 95% intervals" in first
    drawn = (tmp_path / "run" / "curves.json").read_bytes()
    done = mpirun("report", tmp_path / "run", "--data", table, "--output", tmp_path / "other.html", "--json", ranks=3)
    assert done.status == 0, done.err
    assert done.json() == {"output": str(tmp_path / "other.html"), "on": "train", "rows": 506, "ranks": 3}
    assert "with 95% intervals" in (tmp_path / "other.html").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "curves.json").read_bytes() == drawn
    done = mpirun("report", tmp_path, ranks=2)
    assert (done.status, len(done.complaints())) == (3, 1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("there is no Chromium on the PATH")
    with Browser() as some:
        yield some


# Of every figure: texts that do not lie within it, or on one another; and the size of the smallest letters.
LOOK = """
(() => {
  const wrong = [], sizes = [];
  for (const svg of document.querySelectorAll('svg.drawing')) {
    const frame = svg.getBoundingClientRect();
    const scale = frame.width / svg.viewBox.baseVal.width;
    const texts = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim());
    const boxes = texts.map(text => text.getBoundingClientRect());
    texts.forEach((text, k) => {
      sizes.push(parseFloat(getComputedStyle(text).fontSize) * scale);
      const a = boxes[k];
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
        wrong.push(['outside', svg.getAttribute('aria-label').slice(0, 60), text.textContent]);
      for (let i = 0; i < k; i++) {
        const b = boxes[i], s = 0.2 * Math.min(a.height, b.height);
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > s)
          wrong.push(['overlap', svg.getAttribute('aria-label').slice(0, 60), text.textContent, texts[i].textContent]);
      }
    });
  }
  return {wrong, smallest: Math.min(...sizes)};
})()
"""


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
def test_what_a_browser_makes_of_it(
    browser: Browser, runs: dict[str, Path], tmp_path: Path, width: int, dark: bool
) -> None:
    seconds = {key: (np.random.default_rng(0).random(500) * 1e3).tolist() for key in ("read", "compute", "comm")}
    many = progress.times({f"{key}_seconds": values for key, values in seconds.items()} | {"seconds": [3e3] * 500})
    figures = [replace(made_up(k), name=f"tuning-{k}") for k in (1, 2, 3)]
    made = page.render(read_run(runs["two"]), [Section("made", "Made up", figures=(*figures, *many))])
    (tmp_path / "made.html").write_text(made, encoding="utf-8")
    for path in (*(directory / "report.html" for directory in runs.values()), tmp_path / "made.html"):
        browser.said.clear()
        browser.asked.clear()
        browser.show(path, width, dark)
        browser.value("document.querySelectorAll('details').forEach(it => it.open = true)")
        assert browser.value("document.documentElement.scrollWidth") <= width, path
        look = browser.value(LOOK)
        assert look["wrong"] == [], path
        assert look["smallest"] >= 9.0, path
        colours = palette.DARK if dark else palette.LIGHT
        red, green, blue = (int(colours["page"][k : k + 2], 16) for k in (1, 3, 5))
        assert browser.value("getComputedStyle(document.body).backgroundColor") == f"rgb({red}, {green}, {blue})"
        assert browser.said == []
        assert browser.asked == [path.as_uri()]
    assert len(browser.picture(tmp_path / "page.png")) > 10_000
