"""Models in other formats: read by the libraries of these, their answers are those of scipy and scikit-learn."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import scorers
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from mpigd_kernels import LOSSES
from rich.console import Console
from scipy import special, stats
from sklearn import linear_model as sk
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from mpigd.comm import Comm
from mpigd.errors import DataError, MpigdError, UsageError
from mpigd.exchange import from_json, from_sklearn, to_json, to_onnx, to_pmml
from mpigd.exchange.job import export_model, import_model
from mpigd.exchange.json_object import SCHEMA
from mpigd.inspect import describe_model
from mpigd.model import Model
from mpigd.options import Export, Import
from mpigd.problem import options_of
from mpigd.tables import show_model

NAMES = ("age", "dose, mg", "größe")
INVERSE: dict[str, Any] = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": stats.norm.cdf,
    "complementary log-log": lambda eta: -np.expm1(-np.exp(eta)),
    "multinomial logit": lambda eta: special.softmax(eta, axis=1),
}
# Name of a loss, predictors, threshold, the first label.
CASES = [
    *((loss, 1, None, 0.0) for loss in LOSSES if loss != "softmax"),
    ("softmax", 4, None, -1.0),
    ("squared", 3, None, 0.0),
    ("squared-hinge", 3, None, 5.0),
    ("logistic", 1, 0.2, 0.5),
    ("softmax", 2, 0.9, 1.0),
]
IDS = [f"{loss}-{outputs}-{threshold}" for loss, outputs, threshold, _ in CASES]


def model_of(loss: str, outputs: int, threshold: float | None, first: float) -> Model:
    rng = np.random.default_rng(3)
    coef, intercept = rng.standard_normal((3, outputs)), rng.standard_normal(outputs)
    labels = first + np.arange(max(outputs, 2)) if LOSSES[loss].target in ("binary", "classes") else np.zeros(0)
    result = {} if threshold is None else {"threshold": threshold}
    alone = outputs == 1
    return Model(
        coef[:, 0] if alone else coef, intercept[0] if alone else intercept, LOSSES[loss], NAMES, labels, result=result
    )


def wanted_of(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """What the outputs should hold, by scipy."""
    coef, intercept = model.columns()
    eta = x @ coef + intercept
    if not len(model.classes):
        mean = INVERSE[model.link](eta)
        return {"prediction": mean if model.coef.ndim == 2 else mean[:, 0]}
    if model.link == "sign":
        number = (eta[:, 0] > 0.0).astype(int) if model.coef.ndim == 1 else eta.argmax(axis=1)
        return {"label": model.classes[number], "eta": eta if model.coef.ndim == 2 else eta[:, 0]}
    mean = INVERSE[model.link](eta)
    probability = mean if mean.shape[1] > 1 else np.hstack([1.0 - mean, mean])
    threshold = model.threshold
    number = probability.argmax(axis=1) if threshold is None else (probability[:, 1] >= threshold).astype(int)
    return {"label": model.classes[number], "probability": probability}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((200, 3)) * [1.0, 3.0, 10.0]


# JSON


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_json_is_as_its_schema_says_and_comes_back(case: Any, validator: Any) -> None:
    model = model_of(*case)
    model = replace(model, config={"loss_parameter": 1.25}, fit={"scale": np.ones(3)}, path={"passes": np.array([1.5])})
    text = to_json(model)
    validator.validate(json.loads(text))
    again = from_json(text)
    assert again.fingerprint == model.fingerprint
    assert again.loss is model.loss
    for name in ("feature_names", "config", "result"):
        assert getattr(again, name) == getattr(model, name)
    for name in ("coef", "intercept", "classes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    np.testing.assert_array_equal(again.fit["scale"], model.fit["scale"])
    np.testing.assert_array_equal(again.path["passes"], model.path["passes"])


@given(coef=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_every_number_comes_back_from_json_with_its_bits(coef: list[float]) -> None:
    model = Model(np.array(coef), np.array(-0.0), LOSSES["squared"], tuple(map(str, coef)), np.zeros(0))
    assert from_json(to_json(model)).fingerprint == model.fingerprint


def test_examples_of_the_schema_are_models(validator: Any) -> None:
    for example in validator.schema["examples"]:
        validator.validate(example)
        model = from_json(json.dumps(example))
        assert model.fingerprint == example["fingerprint"]
        assert model.parameter == (example["parameter"] or 0.0)


def test_what_stands_at_the_top_of_json_counts_where_there_is_no_config() -> None:
    found = json.loads(to_json(model_of("tweedie", 1, None, 0.0)))
    assert found["parameter"] == LOSSES["tweedie"].parameter.default  # type: ignore[union-attr]
    assert from_json(json.dumps({**found, "parameter": 1.75})).parameter == 1.75
    found = json.loads(to_json(model_of("logistic", 1, None, 0.0)))
    assert from_json(json.dumps({**found, "threshold": 0.25, "result": {}})).threshold == 0.25


def test_numbers_that_json_has_not() -> None:
    model = model_of("squared", 1, None, 0.0)
    assert from_json(to_json(replace(model, result={"rate": np.inf, "all": [np.nan]}))).result == {
        "rate": None,
        "all": [None],
    }
    with pytest.raises(DataError, match="not finite"):
        to_json(replace(model, coef=np.array([1.0, np.nan, 0.0])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "mpigd-model-9"}, "not a model of mpigd"),
        ({"loss": "hinge"}, "no loss hinge"),
        ({"link": "probit"}, "no loss logistic with link probit"),
        ({"coef": [1.0, 2.0]}, r"coef of shape \(2,\)"),
        ({"coef": [[1.0], [2.0, 3.0], [1.0]]}, "holds what it may not"),
        ({"coef": [1.0, None, 2.0]}, "not finite"),
        ({"intercept": [1.0]}, r"intercept of shape \(1,\)"),
        ({"classes": [1.0, 0.0]}, "ascending"),
        ({"classes": [0.0, 1.0, 2.0]}, "3 classes with loss logistic: expected 2"),
        ({"fit": {"theta": ["a"]}}, "expected numbers"),
        ({"intercept": 1.25}, "do not match its fingerprint"),
    ],
)
def test_what_is_wrong_with_json_is_said(changes: dict[str, Any], message: str, tmp_path: Path, comm: Comm) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(to_json(model_of("logistic", 1, None, 0.0))), **changes}))
    with pytest.raises(DataError, match=message) as refused:
        import_model(comm, Import(path, tmp_path / "model.h5"))
    assert str(path) in str(refused.value)
    assert not (tmp_path / "model.h5").exists()


def test_damaged_json_is_a_model_or_a_data_error() -> None:
    text = to_json(model_of("softmax", 4, None, 0.0))
    for length in range(0, len(text) - 2, 7):
        with pytest.raises(DataError):
            from_json(text[:length])
    refused, values = 0, json.loads(text)
    for key in values:
        for wrong in (None, "x", -1, 1e400, [], [[]], {}, [None], {"a": {"b": [1]}}, [10**400], True):
            try:
                assert isinstance(from_json(json.dumps({**values, key: wrong})), Model)
            except DataError:
                refused += 1
    assert refused > 80
    with pytest.raises(DataError):
        from_json("[" * 100_000)


# ONNX


@pytest.mark.parametrize("float32", [False, True])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_onnxruntime_answers_the_same(case: Any, float32: bool, x: np.ndarray) -> None:
    model = model_of(*case)
    kind = np.float32 if float32 else np.float64
    x = x.astype(kind).astype(np.float64)
    made = to_onnx(model, float32)
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = wanted_of(model, x)
    names = [output.name for output in session.get_outputs()]
    assert names == list(wanted)
    found = dict(zip(names, session.run(None, {"X": x.astype(kind)}), strict=True))
    np.testing.assert_array_equal(found.get("label", 0), wanted.get("label", 0))
    if "label" in wanted:
        whole = (model.classes == np.rint(model.classes)).all()
        assert found["label"].dtype == (np.int64 if whole else kind)
        np.testing.assert_array_equal(found["label"], model.predict(x))
    for name in names:
        if name != "label":
            assert found[name].dtype == kind
            rtol, atol = (2e-4, 1e-5) if float32 else (1e-12, 1e-15)
            np.testing.assert_allclose(found[name], wanted[name], rtol=rtol, atol=atol)
    assert session.get_modelmeta().custom_metadata_map["fingerprint"] == model.fingerprint
    assert json.loads(session.get_modelmeta().custom_metadata_map["feature_names"]) == list(NAMES)


@pytest.mark.parametrize("loss", ["logistic", "probit", "cloglog", "poisson"])
def test_small_probabilities_keep_their_digits_in_onnx(loss: str) -> None:
    eta = np.linspace(-37.0, 5.0, 200)
    model = Model(np.array([1.0]), np.array(0.0), LOSSES[loss], ("eta",), np.arange(2.0 * (loss != "poisson")))
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["prediction" if loss == "poisson" else "probability"], {"X": eta[:, None]})[0]
    np.testing.assert_allclose(found[:, -1] if found.ndim == 2 else found, INVERSE[model.link](eta), rtol=1e-12)


def test_models_too_large_for_onnx_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpigd.exchange.onnx_graph.LARGEST", 16)
    with pytest.raises(UsageError, match="2 GiB"):
        to_onnx(model_of("squared", 1, None, 0.0))


def test_formats_whose_library_is_missing_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, comm: Comm) -> None:
    for name in ("onnx", "skops"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"needs the package onnx: pip install 'mpigd\[exchange\]'"):
        to_onnx(model_of("squared", 1, None, 0.0))
    with pytest.raises(UsageError, match=r"package skops: pip install 'mpigd\[exchange\]'"):
        import_model(comm, Import(tmp_path / "a.skops", tmp_path / "b.h5"))


# PMML

SCORED = [case for case in CASES if case[:2] != ("squared", 3)]


def pmml_files(directory: Path) -> dict[str, Model]:
    found = {}
    for number, case in enumerate(SCORED):
        path = directory / f"{number}.pmml"
        model = model_of(*case)
        path.write_text(to_pmml(model), encoding="utf-8")
        found[str(path)] = model
    return found


@pytest.mark.parametrize("library", ["pypmml", "jpmml_evaluator"])
def test_other_libraries_score_pmml_the_same(library: str, x: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip(library)
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    rows, models = x[:40], pmml_files(tmp_path)
    named = json.dumps([dict(zip(NAMES, row, strict=True)) for row in rows.tolist()])
    job = [sys.executable, scorers.__file__, library, *models]
    done = subprocess.run(job, input=named, capture_output=True, text=True, check=True, timeout=120)
    answers = json.loads(done.stdout)
    assert answers.keys() == models.keys()
    for path, model in models.items():
        found, wanted = pd.DataFrame(answers[path]), wanted_of(model, rows)
        if "prediction" in wanted:
            np.testing.assert_allclose(found["prediction"], wanted["prediction"], rtol=1e-12)
            continue
        np.testing.assert_array_equal(found["label"], wanted["label"])
        shown = [name for name in found if name.startswith("probability")]
        labels = [int(label) if label == int(label) else label for label in model.classes.tolist()]
        assert set(shown) == {f"probability_{label}" for label in labels if "probability" in wanted}
        for name, label in zip([f"probability_{label}" for label in labels] if shown else [], labels, strict=False):
            column = wanted["probability"][:, labels.index(label)]
            np.testing.assert_allclose(found[name], column, rtol=1e-12, atol=1e-15)


def test_pmml_is_valid_by_its_schema(tmp_path: Path) -> None:
    etree = pytest.importorskip("lxml.etree")
    specification = importlib.util.find_spec("jpmml_evaluator")
    if specification is None or specification.origin is None:
        pytest.skip("jpmml_evaluator, which has the schema of PMML in it, is not installed")
    jar = next((Path(specification.origin).parent / "dependencies").glob("pmml-model-[0-9]*.jar"))
    schema = etree.XMLSchema(etree.parse(io.BytesIO(zipfile.ZipFile(jar).read("pmml.xsd"))))
    for path in pmml_files(tmp_path):
        assert schema.validate(etree.parse(path)), schema.error_log
    torn = etree.parse(path)
    torn.getroot()[2][0].set("usageType", "no such")
    torn.getroot()[2].remove(torn.getroot()[2][0])
    assert not schema.validate(torn)


def test_pmml_is_of_one_target_with_fields_of_different_names() -> None:
    with pytest.raises(UsageError, match="3 outputs"):
        to_pmml(model_of("squared", 3, None, 0.0))
    model = model_of("squared", 1, None, 0.0)
    with pytest.raises(UsageError, match="two columns of the model have the name 'a'"):
        to_pmml(replace(model, feature_names=("a", "b", "a")))
    for name in ("", "a\x00b"):
        with pytest.raises(UsageError, match="XML can't hold"):
            to_pmml(replace(model, feature_names=("a", "b", name)))
    assert 'name="y_" usageType="target"' in to_pmml(replace(model, feature_names=("y", "<&>", '"')))


# scikit-learn


def rows(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns far from standardised, and a target."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((150, 4)) * [1.0, 0.2, 3.0, 1.0] + [0.0, 1.0, -2.0, 0.5]
    eta = x @ [0.5, -1.0, 0.2, 0.1] + 0.3 * rng.standard_normal(150)
    if kind == "real":
        return x, eta
    if kind == "several":
        return x, np.stack([eta, 2.0 - eta**2], axis=1)
    if kind == "counts":
        return x, rng.poisson(np.exp(eta)).astype(float)
    if kind == "positive":
        return x, np.exp(eta)
    return x, np.digitize(eta, [0.0] if kind == "binary" else [-1.0, 0.5]) * 2 - 1


NUMBERS = [
    ("real", sk.LinearRegression(), "squared"),
    ("real", sk.LinearRegression(fit_intercept=False), "squared"),
    ("several", sk.LinearRegression(), "squared"),
    ("several", sk.MultiTaskLasso(0.1), "squared"),
    ("real", sk.Ridge(2.0), "squared"),
    ("real", sk.RidgeCV(), "squared"),
    ("real", sk.Lasso(0.05), "squared"),
    ("real", sk.LassoCV(cv=3), "squared"),
    ("real", sk.ElasticNet(0.05), "squared"),
    ("real", sk.BayesianRidge(), "squared"),
    ("real", sk.HuberRegressor(), "huber"),
    ("real", sk.QuantileRegressor(quantile=0.7, alpha=0.01), "quantile"),
    ("real", LinearSVR(epsilon=0.2, max_iter=100_000), "epsilon-insensitive"),
    ("real", LinearSVR(epsilon=0.0, max_iter=100_000), "quantile"),
    ("real", sk.SGDRegressor(random_state=0), "squared"),
    ("real", sk.SGDRegressor(loss="huber", random_state=0), "huber"),
    ("counts", sk.PoissonRegressor(), "poisson"),
    ("positive", sk.GammaRegressor(), "gamma"),
    ("counts", sk.TweedieRegressor(power=1.5), "tweedie"),
    ("real", sk.TweedieRegressor(power=0), "squared"),
]
CLASSES = [
    ("binary", sk.LogisticRegression(), "logistic"),
    ("classes", sk.LogisticRegression(), "softmax"),
    ("binary", sk.SGDClassifier(loss="log_loss", random_state=0), "logistic"),
    ("binary", LinearSVC(), "squared-hinge"),
    ("classes", LinearSVC(), "squared-hinge"),
    ("classes", sk.SGDClassifier(loss="modified_huber", random_state=0), "modified-huber"),
]


@pytest.mark.parametrize(("kind", "estimator", "loss"), NUMBERS + CLASSES, ids=lambda value: str(value)[:40])
def test_estimators_of_scikit_learn_answer_the_same(kind: str, estimator: Any, loss: str) -> None:
    x, y = rows(kind)
    fitted = estimator.fit(x, y)
    model = from_sklearn(fitted)
    assert (model.loss.name, model.feature_names) == (loss, ("x0", "x1", "x2", "x3"))
    np.testing.assert_allclose(model.predict(x), fitted.predict(x), rtol=1e-12, atol=1e-13)
    if model.has_probabilities:
        np.testing.assert_allclose(model.predict_proba(x), fitted.predict_proba(x), rtol=1e-12, atol=1e-15)
    assert from_json(to_json(model)).fingerprint == model.fingerprint


def test_parameters_of_losses_are_those_of_the_estimator() -> None:
    x, y = rows("real")
    huber = sk.HuberRegressor(epsilon=1.5).fit(x, y)
    assert from_sklearn(huber).parameter == 1.5 * huber.scale_
    assert from_sklearn(sk.QuantileRegressor(quantile=0.7).fit(x, y)).parameter == 0.7


@pytest.mark.parametrize(
    "scalers",
    [
        [StandardScaler()],
        [StandardScaler(with_mean=False)],
        [StandardScaler(with_std=False)],
        [RobustScaler(), "passthrough", MaxAbsScaler()],
        [MinMaxScaler((-1.0, 3.0)), StandardScaler()],
    ],
    ids=str,
)
def test_scalers_of_a_pipeline_go_into_the_coefficients(scalers: list[Any]) -> None:
    x, y = rows("classes")
    frame = pd.DataFrame(x, columns=list("abcd"))
    fitted = make_pipeline(*scalers, sk.LogisticRegression()).fit(frame, y)
    model = from_sklearn(fitted)
    assert model.feature_names == tuple("abcd")
    np.testing.assert_allclose(model.predict_proba(frame), fitted.predict_proba(frame), rtol=1e-12)
    nested = make_pipeline(StandardScaler(), fitted[-1:]).fit(frame, y)
    np.testing.assert_allclose(from_sklearn(nested).predict_proba(x), nested.predict_proba(frame), rtol=1e-12)


def test_the_best_of_a_search_is_taken() -> None:
    x, y = rows("real")
    search = GridSearchCV(make_pipeline(StandardScaler(), sk.Ridge()), {"ridge__alpha": [0.1, 10.0]}, cv=3).fit(x, y)
    model = from_sklearn(search, feature_names=["p", "q", "r", "s"])
    assert model.feature_names == ("p", "q", "r", "s")
    np.testing.assert_allclose(model.predict(x), search.predict(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "estimator", "message"),
    [
        ("binary", sk.SGDClassifier(), "with loss 'hinge': of its losses mpigd has"),
        ("classes", sk.SGDClassifier(loss="log_loss"), "mpigd has softmax"),
        ("positive", sk.TweedieRegressor(power=3), "power 3 and link log"),
        ("binary", sk.RidgeClassifier(), "RidgeClassifier is not among"),
        ("real", make_pipeline(PolynomialFeatures(), sk.Ridge()), "PolynomialFeatures in a pipeline"),
        ("real", make_pipeline(MinMaxScaler(clip=True), sk.Ridge()), "without clip"),
    ],
)
def test_estimators_that_mpigd_has_not_are_refused(kind: str, estimator: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_sklearn(estimator.fit(*rows(kind)))


def test_labels_are_numbers_and_estimators_fitted() -> None:
    x, y = rows("binary")
    with pytest.raises(DataError, match=r"\['no', 'yes'\]; those of mpigd are numbers"):
        from_sklearn(sk.LogisticRegression().fit(x, np.where(y > 0, "yes", "no")))
    with pytest.raises(DataError, match="expected a fitted linear model"):
        from_sklearn(sk.Ridge())
    with pytest.raises(DataError, match="a row for each of 2 columns"):
        from_sklearn(sk.LogisticRegression().fit(x, y), feature_names=["a", "b"])


class Strange:
    """What nobody trusts."""

    coef_ = intercept_ = 0.0


def test_skops_is_read_without_running_it(tmp_path: Path, comm: Comm) -> None:
    x, y = rows("binary")
    fitted = make_pipeline(StandardScaler(), sk.LogisticRegression()).fit(x, y)
    file, output = tmp_path / "a.skops", tmp_path / "a.h5"
    skops.io.dump(fitted, file)
    import_model(comm, Import(file, output))
    model = Model.load(output)
    np.testing.assert_allclose(model.predict_proba(x), fitted.predict_proba(x), rtol=1e-12)
    with pytest.raises(DataError, match="does not say how it was fitted"):
        options_of(model, output, ())
    shown = io.StringIO()
    show_model(Console(file=shown), describe_model(output))
    assert "imported from      sklearn LogisticRegression" in shown.getvalue()
    whole = file.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.skops: not a file that skops can read"):
            import_model(comm, Import(file, output))
    skops.io.dump(Strange(), file)
    with pytest.raises(DataError, match=r"a\.skops: holds .*Strange, which skops does not trust"):
        import_model(comm, Import(file, output))


# Commands


@pytest.mark.mpi
def test_commands_write_on_one_rank_and_fail_on_all(comm: Comm, shared_path: Path) -> None:
    model = model_of("logistic", 1, 0.3, 0.0)
    with comm.agreement():
        if comm.rank == 0:
            model.save(shared_path / "model.h5")
    for name in ("a.onnx", "a.pmml", "a.json"):
        done = export_model(comm, Export(shared_path, shared_path / name))
        assert done["model_fingerprint"] == model.fingerprint
        assert done["bytes"] == (shared_path / name).stat().st_size
    assert import_model(comm, Import(shared_path / "a.json", shared_path / "b.h5"))["loss"] == "logistic"
    assert Model.load(shared_path / "b.h5").fingerprint == model.fingerprint
    for job, wrong in (
        (export_model, Export(shared_path / "no.h5", shared_path / "b.json")),
        (import_model, Import(shared_path / "no.json", shared_path / "c.h5")),
        (export_model, Export(shared_path, shared_path / "a.json" / "b.json")),
    ):
        with pytest.raises(MpigdError):
            job(comm, wrong)  # type: ignore[operator]


def test_options_say_what_they_expect() -> None:
    assert Export(Path("m.h5"), Path("a.txt"), format="json").chosen == "json"
    assert Export(Path("m.h5"), Path("A.ONNX"), float32=True).chosen == "onnx"
    for given_options, message in (
        ({"output": Path("a.txt")}, r"an ending \.onnx, \.pmml or \.json"),
        ({"output": Path("a.json"), "float32": True}, "--float32: expected the format onnx"),
    ):
        with pytest.raises(UsageError, match=message):
            Export(Path("m.h5"), **given_options)  # type: ignore[arg-type]
    for name, message in (("a.pkl", "no pickle, which runs code"), ("a.xml", r"an ending \.json or \.skops")):
        with pytest.raises(UsageError, match=message):
            Import(Path(name), Path("m.h5"))
