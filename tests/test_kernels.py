"""Operations on slices against plain numpy in float64, and against numerical differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mpigd_kernels as kernels
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mpigd_kernels import dense, exact
from mpigd_kernels.sparse import add_sparse_predictors, add_sparse_products
from reference import EXAMPLES_OF_Y, VALUE, parameters
from scipy import sparse, special

# How X is stored, then what arithmetic is in.
STORED = [
    ("float64", "float64"),
    ("float32", "float64"),
    ("float16", "float64"),
    ("int8", "float64"),
    ("uint8", "float64"),
    ("float32", "float32"),
    ("uint8", "float32"),
    ("csr float64 int64", "float64"),
    ("csr float32 int32", "float64"),
    ("csr float32 int32", "float32"),
]
EVERY = [f"{x} in {work}" for x, work in STORED]
CONVEX = sorted(set(kernels.LOSSES) - {"focal"})


@dataclass(frozen=True)
class Problem:
    """Rows in plain arrays; `slice` has them as kernels do. y (n, 1 or K), weight (n, 1 or K), offset (n, 1)."""

    loss: kernels.Loss
    stored: str
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    offset: np.ndarray | None
    coef: np.ndarray
    intercept: np.ndarray
    block: int
    threads: int = 1

    @property
    def work(self) -> str:
        return self.stored.split(" in ")[1]

    @property
    def at(self) -> kernels.At:
        return kernels.At(self.loss, self.coef, self.intercept, *parameters(self.loss))

    @property
    def outputs(self) -> int:
        return self.coef.shape[1]

    def slice(self) -> kernels.Slice:
        n, d = self.X.shape
        rows = kernels.tile_rows(self.block)
        count = kernels.tile_count(n, rows)

        def per_row(values: np.ndarray | None, padding: float = 0.0) -> np.ndarray:
            if values is None:
                return np.zeros((0, 1, rows), self.work)
            padded = np.full((count * rows, values.shape[1]), padding, self.work)
            padded[:n] = values
            return np.ascontiguousarray(padded.reshape(count, rows, values.shape[1]).transpose(0, 2, 1))

        fields = {
            "n": n,
            "block": self.block,
            "y": per_row(self.y, 1.0),
            "weight": per_row(self.weight),
            "offset": per_row(self.offset),
            "computing": kernels.Computing(np.dtype(self.work), self.threads),
        }
        kind = self.stored.split(" in ")[0]
        if kind.startswith("csr"):
            _, dtype, index = kind.split()
            m = sparse.csr_array(self.X)
            x = m.data.astype(dtype), m.indices.astype(index), m.indptr.astype(np.int64)
            return kernels.SparseSlice(*fields.values(), *x, d)
        tiles = np.zeros((count, d, rows), kind)
        half = n // 2 // rows * rows
        kernels.fill_tiles(self.X[:half].astype(kind), 0, tiles, np.zeros((1, 8)))
        kernels.fill_tiles(self.X[half:].astype(kind), half, tiles, np.zeros((1, 8)))
        return kernels.DenseSlice(**fields, tiles=tiles)

    def eta(self) -> np.ndarray:
        eta = self.X @ self.coef + self.intercept
        return eta if self.offset is None else eta + self.offset

    def weights(self) -> np.ndarray:
        return np.ones((len(self.X), 1)) if self.weight is None else self.weight

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value (n, K), first derivatives (n, K) and Hessian (n, K, K) of each row, unweighted, the plainest way."""
        eta, y, loss = self.eta(), self.y, self.loss
        if loss.coupled:
            label, p = np.eye(self.outputs)[y[:, 0].astype(int)], special.softmax(eta, axis=1)
            value = np.zeros_like(eta)
            value[:, 0] = -(label * special.log_softmax(eta, axis=1)).sum(axis=1)
            return value, p - label, np.einsum("nk,kl->nkl", p, np.eye(self.outputs)) - np.einsum("nk,nl->nkl", p, p)
        target = np.broadcast_to(y, eta.shape)
        # Derivatives are held against independent ones in test_losses.
        found = np.array(
            [loss.row(e, t, *parameters(loss)) for e, t in zip(eta.ravel(), target.ravel(), strict=True)]
        ).reshape(*eta.shape, 3)
        value = VALUE[loss.name](eta, target, *parameters(loss))
        return value, found[:, :, 1], np.einsum("nk,kl->nkl", found[:, :, 2], np.eye(self.outputs))

    def tolerance(self, *sizes: np.ndarray) -> float:
        """What a sum may differ by: a part of the sum of the sizes of its terms."""
        unit = 1e-13 if self.work == "float64" else 2e-5
        return unit * (1.0 + sum(float(np.abs(size).sum()) for size in sizes))


@st.composite
def problems(draw: st.DrawFn, losses: Sequence[str] = tuple(kernels.LOSSES), most_outputs: int = 5) -> Problem:
    loss = kernels.LOSSES[draw(st.sampled_from(losses))]
    stored = draw(st.sampled_from(EVERY))
    n, d = draw(st.integers(0, 150)), draw(st.integers(1, 7))
    outputs = draw(st.integers(2 if loss.coupled else 1, most_outputs if most_outputs > 1 else 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(0, 3, (n, d)) * rng.integers(0, 2, (n, d)).astype(float)  # exact in every type; rows may be empty
    if "int8" not in stored:
        X *= rng.choice([-0.5, 1.0, 0.75], (n, d))
    y = rng.choice(EXAMPLES_OF_Y.get(loss.target, np.arange(max(outputs, 2.0)) if loss.coupled else [0.0, 1.0]), n)
    several = draw(st.booleans()) and not loss.coupled
    weights = draw(st.sampled_from([0, 1, 1 if loss.coupled else outputs]))
    return Problem(
        loss,
        stored,
        X,
        np.repeat(y[:, None], outputs, axis=1) if several else y[:, None],
        rng.integers(0, 3, (n, weights)).astype(float) if weights else None,
        rng.integers(-4, 4, (n, 1)) / 4 if draw(st.booleans()) else None,
        rng.integers(-8, 8, (d, outputs)) / 16,
        rng.integers(-8, 8, outputs) / 8,
        # Small tiles are kernels of their own, seconds each to compile: of two storages only.
        block=draw(st.sampled_from([16, 32, 64, 128] if stored.count("64") >= 2 else [64, 128])),
        threads=draw(st.sampled_from([1, 3])),
    )


def check_sums(problem: Problem, found: np.ndarray, with_gradient: bool) -> None:
    """Compare what a value or gradient gives with numpy: its products, sums of residuals, values, weights."""
    value, first, _ = problem.rows()
    w = problem.weights()
    outputs, d = problem.outputs, problem.X.shape[1]
    residual, values = w * first, w * value
    if with_gradient:
        gradient = found[: d * outputs].reshape(d, outputs)
        np.testing.assert_allclose(gradient, problem.X.T @ residual, rtol=0, atol=problem.tolerance(residual) * 2)
        found = found[d * outputs :]
    np.testing.assert_allclose(found[:outputs], residual.sum(axis=0), rtol=0, atol=problem.tolerance(residual))
    sums = found[outputs : 2 * outputs]
    np.testing.assert_allclose(sums, values.sum(axis=0), rtol=0, atol=problem.tolerance(values, problem.eta()))
    np.testing.assert_array_equal(found[2 * outputs :], w.sum(axis=0))


@given(problem=problems())
def test_value_and_gradient_equal_numpy(problem: Problem) -> None:
    check_sums(problem, exact.rounded(problem.slice().value_gradient(problem.at)), with_gradient=True)
    check_sums(problem, exact.rounded(problem.slice().value(problem.at)), with_gradient=False)


@pytest.mark.parametrize("stored", EVERY)
@pytest.mark.parametrize("name", kernels.LOSSES)
def test_every_loss_with_every_storage(name: str, stored: str) -> None:
    rng = np.random.default_rng(0)
    loss = kernels.LOSSES[name]
    outputs = 3 if loss.coupled else 1
    X = rng.integers(0, 3, (100, 3)).astype(float)
    y = rng.choice(EXAMPLES_OF_Y.get(loss.target, np.arange(max(outputs, 2.0))), (100, 1))
    coef, intercept = rng.standard_normal((3, outputs)) / 2, rng.standard_normal(outputs) / 2
    problem = Problem(loss, stored, X, y, None, None, coef, intercept, 64)
    check_sums(problem, exact.rounded(problem.slice().value_gradient(problem.at)), with_gradient=True)


@pytest.mark.parametrize("outputs", range(1, 18))
@pytest.mark.parametrize("stored", ["float32 in float32", "float32 in float64", "csr float32 int32 in float64"])
def test_any_number_of_outputs(outputs: int, stored: str) -> None:
    rng = np.random.default_rng(outputs)
    X, y = rng.integers(-2, 3, (90, 5)).astype(float), rng.standard_normal((90, outputs)).astype(np.float32)
    coef, intercept = rng.integers(-8, 8, (5, outputs)) / 8, np.zeros(outputs)
    problem = Problem(kernels.LOSSES["squared"], stored, X, y.astype(float), None, None, coef, intercept, 64)
    check_sums(problem, exact.rounded(problem.slice().value_gradient(problem.at)), with_gradient=True)


@given(problem=problems(losses=CONVEX))
def test_gradient_equals_numerical_differences(problem: Problem) -> None:
    assume(problem.loss.link not in ("identity", "sign") or problem.loss.name == "squared")  # kinks: test_losses
    assume(problem.work == "float64")
    w = problem.weights()
    d, outputs = problem.coef.shape
    assume(problem.loss.coupled or w.shape[1] == 1)
    sums = exact.rounded(problem.slice().value_gradient(problem.at))
    h = 1e-3
    for index in np.ndindex(d, outputs):

        def value(step: float, index: tuple[int, ...] = index) -> float:
            coef = problem.coef.copy()
            coef[index] += step
            found = exact.rounded(problem.slice().value(replace(problem.at, coef=coef)))
            return float(found[outputs : 2 * outputs].sum())

        difference = (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h)
        assert sums[index[0] * outputs + index[1]] == pytest.approx(difference, rel=1e-6, abs=1e-7)


@given(problem=problems(), seed=st.integers(0, 99))
def test_hessian_products_equal_numpy(problem: Problem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, outputs = problem.coef.shape
    direction, shift = rng.integers(-4, 5, (d, outputs)) / 4, rng.integers(-4, 5, outputs) / 4
    w, along = problem.weights(), problem.X @ direction + shift
    _, _, hessian = problem.rows()
    residual = w * np.einsum("nkl,nl->nk", hessian, along)
    expected = np.vstack([problem.X.T @ residual, residual.sum(axis=0)])
    atol = 4 * problem.tolerance(w * np.abs(hessian).sum(axis=2) * (1 + np.abs(along).sum(axis=1, keepdims=True)))
    rows = problem.slice()
    kept = rows.curvature(outputs)
    plain = exact.rounded(rows.value_gradient(problem.at))
    np.testing.assert_array_equal(exact.rounded(rows.value_gradient(problem.at, kept)), plain)
    for curvature in (None, kept):
        found = exact.rounded(rows.hessian_product(problem.at, direction, shift, curvature))
        np.testing.assert_allclose(found[: (d + 1) * outputs].reshape(d + 1, outputs), expected, rtol=0, atol=atol)


def check_second_order(problem: Problem, found: np.ndarray) -> None:
    """Compare value, gradient and Hessian with numpy."""
    X, w, d = problem.X, problem.weights(), problem.X.shape[1]
    value, first, hessian = problem.rows()
    s, r = w * hessian[:, :, 0], w * first
    expected = [
        np.concatenate([(X.T @ (s * X))[j, j:], X[:, j] @ s, X[:, j] @ r])  # the upper triangle, row by row
        for j in range(d)
    ]
    rest = [r.sum(), (w * value).sum(), w.sum(), s.sum()]
    atol = 4 * problem.tolerance(s, r, w * value)
    np.testing.assert_allclose(found, np.concatenate([*expected, rest]), rtol=0, atol=atol)


@given(problem=problems(losses=sorted(set(kernels.LOSSES) - {"softmax"}), most_outputs=1))
def test_second_order_equals_numpy(problem: Problem) -> None:
    assume(problem.stored.split()[0] in ("float64", "float32", "csr"))
    check_second_order(problem, exact.rounded(problem.slice().second_order(problem.at)))


SQUARED = ("float32 in float64", "float32 in float32", "float64 in float64", "csr float32 int32 in float64")


@pytest.mark.parametrize("d", [1, 7, 30, 45])
@pytest.mark.parametrize("stored", SQUARED)
@pytest.mark.parametrize("block", [16, 64, 1024])
def test_second_order_with_full_and_partial_blocks_of_columns(d: int, stored: str, block: int) -> None:
    rng = np.random.default_rng(d)
    X, y = rng.integers(-2, 3, (1500, d)) / 2, rng.integers(0, 2, (1500, 1)).astype(float)
    weight = rng.integers(0, 3, (1500, 1)).astype(float)
    coef = rng.integers(-8, 8, (d, 1)) / 16 / d
    problem = Problem(kernels.LOSSES["logistic"], stored, X, y, weight, None, coef, np.full(1, 0.25), block)
    found = exact.rounded(problem.slice().second_order(problem.at))
    np.testing.assert_array_equal(exact.rounded(replace(problem, threads=3).slice().second_order(problem.at)), found)
    check_second_order(problem, found)


@pytest.mark.parametrize("stored", [x for x in EVERY if "csr" not in x])
@pytest.mark.parametrize("outputs", [2, 10, 13])
def test_many_columns_and_tiles_with_several_outputs(outputs: int, stored: str) -> None:
    rng = np.random.default_rng(outputs)
    X, y = rng.integers(0, 3, (1500, 75)).astype(float), rng.integers(0, outputs, (1500, 1)).astype(float)
    coef, intercept = rng.integers(-8, 8, (75, outputs)) / 64, rng.integers(-8, 8, outputs) / 8
    problem = Problem(kernels.LOSSES["softmax"], stored, X, y, None, None, coef, intercept, 1024)
    found = problem.slice().value_gradient(problem.at)
    np.testing.assert_array_equal(replace(problem, threads=3).slice().value_gradient(problem.at), found)
    check_sums(problem, exact.rounded(found), with_gradient=True)


def test_blocks_of_accumulators_in_python_equal_the_compiled_ones() -> None:
    rng = np.random.default_rng(0)
    d, outputs, rows = 45, 13, 16
    tiles = rng.integers(-4, 5, (3, d, rows)).astype(np.float32)
    coef, right = rng.integers(-4, 5, (d, outputs)) / 4, rng.integers(-4, 5, (3 * outputs, rows)) / 4
    eta, products = np.zeros((outputs, rows)), np.zeros((d, outputs))
    dense.add_predictors(tiles[0], coef, eta, tiles, d, 2)
    dense.add_products(tiles, right, products, tiles, 0)
    np.testing.assert_array_equal(eta, coef.T @ tiles[0])
    np.testing.assert_array_equal(products, np.einsum("tji,tki->jk", tiles, right.reshape(3, outputs, rows)))
    squares = np.zeros((d, outputs))
    dense.add_squares(tiles, right, squares)
    np.testing.assert_array_equal(np.triu(squares), np.triu(products))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("stored", [x for x in EVERY if "csr" in x])
def test_sparse_rows_of_any_length(outputs: int, stored: str) -> None:
    """From none to several sets of lanes with every number left over."""
    rng = np.random.default_rng(outputs)
    X = rng.choice([-2.0, -0.5, 1.0, 1.5], (123, 60))
    for i in range(len(X)):
        X[i, rng.permutation(60)[i % 41 :]] = 0.0
    y = rng.integers(-4, 5, (123, outputs)) / 4
    coef, intercept = rng.integers(-8, 8, (60, outputs)) / 8, rng.integers(-8, 8, outputs) / 8
    problem = Problem(kernels.LOSSES["squared"], stored, X, y, None, None, coef, intercept, 64)
    rows = problem.slice()
    found = exact.rounded(rows.value_gradient(problem.at))
    residual = problem.eta() - y
    np.testing.assert_array_equal(found[: 60 * outputs].reshape(60, outputs), X.T @ residual)  # all are exact
    np.testing.assert_array_equal(rows.linear_predictor(coef, intercept), problem.eta())
    check_sums(problem, found, with_gradient=True)


def test_sparse_operations_in_python_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.integers(-2, 3, (16, 40)).astype(float))
    eta, products = np.zeros((2, 16)), np.zeros((40, 2))
    coef, residual = rng.integers(-4, 5, (40, 2)) / 4, rng.integers(-4, 5, (2, 16)) / 4
    add_sparse_predictors(X.data, X.indices, X.indptr, 16, 0, coef, eta)
    add_sparse_products(X.data, X.indices, X.indptr, 16, 0, residual, products)
    np.testing.assert_array_equal(eta, (X @ coef).T)
    np.testing.assert_array_equal(products, X.T @ residual.T)


@given(problem=problems())
def test_linear_predictor_equals_numpy(problem: Problem) -> None:
    eta = problem.slice().linear_predictor(problem.coef, problem.intercept)
    np.testing.assert_array_equal(eta, problem.eta())  # every product and sum is exact


@given(problem=problems())
def test_moments_and_row_norms_equal_numpy(problem: Problem) -> None:
    X, d = problem.X, problem.X.shape[1]
    problem = replace(problem, weight=None if problem.weight is None else problem.weight[:, :1])
    w = problem.weights()
    shift, scale = np.linspace(-1, 1, d), np.linspace(0.5, 2, d)
    rows = problem.slice()
    found = exact.rounded(rows.column_moments(shift))
    np.testing.assert_allclose(found[:d], (w * (X - shift)).sum(axis=0), atol=1e-11)
    np.testing.assert_allclose(found[d:-1], (w * (X - shift) ** 2).sum(axis=0), atol=1e-11)
    assert found[-1] == w.sum()
    norms = (((X - shift) / scale) ** 2).sum(axis=1)
    pieces = list(rows.row_norms(shift, scale))
    np.testing.assert_allclose(np.concatenate([*pieces, np.zeros(0)]), norms, rtol=1e-12, atol=1e-12)
    assert rows.largest_row_norm(shift, scale) == pytest.approx(norms[w[:, 0] > 0].max(initial=0.0), rel=1e-12)


@given(problem=problems(losses=["logistic", "softmax"]), data=st.data())
def test_gathered_rows_give_their_own_sums(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.y)
    picked = np.array(sorted(data.draw(st.sets(st.integers(0, max(n - 1, 0)), max_size=min(n, 30)))), np.int64)
    weight, offset = problem.weight, problem.offset
    alone = replace(
        problem,
        X=problem.X[picked],
        y=problem.y[picked],
        weight=None if weight is None else weight[picked],
        offset=None if offset is None else offset[picked],
    )
    found = exact.rounded(problem.slice().gather(picked).value_gradient(problem.at))
    check_sums(alone, found, with_gradient=True)


@given(problem=problems(losses=["logistic", "softmax"]), data=st.data())
def test_picked_blocks_give_their_own_sums(problem: Problem, data: st.DataObject) -> None:
    """Some blocks and the others are all of them, with any number of threads."""
    rows, blocks = problem.slice(), -(-len(problem.y) // problem.block)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=blocks, max_size=blocks)), bool)
    threads = replace(rows.computing, threads=data.draw(st.integers(1, 4)))
    total = replace(rows, picked=np.flatnonzero(chosen), computing=threads).value_gradient(problem.at)
    exact.merge(replace(rows, picked=np.flatnonzero(~chosen)).value_gradient(problem.at), total)
    np.testing.assert_array_equal(exact.rounded(total), exact.rounded(rows.value_gradient(problem.at)))


@given(problem=problems(losses=["logistic", "softmax"]), data=st.data())
def test_some_columns_are_those_of_the_others_being_zero(problem: Problem, data: st.DataObject) -> None:
    d = problem.X.shape[1]
    picked = np.array(sorted(data.draw(st.sets(st.integers(0, d - 1), min_size=1))))
    at = problem.at
    coef = np.zeros_like(at.coef)
    coef[picked] = at.coef[picked]
    whole = exact.rounded(problem.slice().value_gradient(replace(at, coef=coef)))
    some = exact.rounded(problem.slice().columns_only(picked).value_gradient(replace(at, coef=coef[picked])))
    outputs = coef.shape[1]
    gradient, rest = whole[: d * outputs].reshape(d, outputs)[picked], whole[d * outputs :]
    exactness = 1e-12 if problem.work == "float64" else 1e-4
    np.testing.assert_allclose(some, np.append(gradient, rest), rtol=exactness, atol=exactness)


@given(problem=problems(), cut=st.integers(0, 10))
def test_sums_do_not_depend_on_who_owns_which_block(problem: Problem, cut: int) -> None:
    """Two slices, cut between blocks, and any number of threads: the same bits."""
    whole = replace(problem, threads=1).slice().value_gradient(problem.at)
    at = min(cut * problem.block, len(problem.y))
    total = exact.empty(whole.shape[1])
    for part in (slice(0, at), slice(at, None)):
        fields = {
            name: None if (value := getattr(problem, name)) is None else value[part]
            for name in ("X", "y", "weight", "offset")
        }
        exact.merge(replace(problem, **fields).slice().value_gradient(problem.at), total)
    np.testing.assert_array_equal(exact.rounded(total), exact.rounded(whole))


@pytest.mark.parametrize("work", ["float64", "float32"])
@pytest.mark.parametrize("size", [-1e4, -60.0, 60.0, 1e4])
@pytest.mark.parametrize("name", kernels.LOSSES)
def test_every_loss_is_finite_at_extremes_as_compiled(name: str, size: float, work: str) -> None:
    loss = kernels.LOSSES[name]
    outputs = 3 if loss.coupled else 1
    y = np.array(EXAMPLES_OF_Y.get(loss.target, [0.0, 1.0]))[:, None]
    coef = np.full((1, outputs), size) * np.linspace(1.0, -1.0, outputs)
    problem = Problem(loss, f"float32 in {work}", np.ones((len(y), 1)), y, None, None, coef, np.zeros(outputs), 16)
    rows = problem.slice()
    kept = rows.curvature(outputs)
    assert np.isfinite(exact.rounded(rows.value_gradient(problem.at, kept))).all()
    assert np.isfinite(kept).all()


def test_rows_of_weight_zero_contribute_nothing_even_where_the_loss_overflows() -> None:
    X = np.array([[1.0], [1e300]])
    weight = np.array([[1.0], [0.0]])
    coef = np.full((1, 1), 1e10)
    squared = kernels.LOSSES["squared"]
    problem = Problem(squared, "float64 in float64", X, np.zeros((2, 1)), weight, None, coef, np.zeros(1), 16)
    gradient, residual, value, total = exact.rounded(problem.slice().value_gradient(problem.at))
    assert (gradient, residual, value, total) == (1e10, 1e10, 0.5e20, 1.0)


def test_overflow_is_carried_through() -> None:
    X, coef = np.array([[1e300], [1.0]]), np.full((1, 1), 1e10)
    squared = kernels.LOSSES["squared"]
    problem = Problem(squared, "float64 in float64", X, np.zeros((2, 1)), None, None, coef, np.zeros(1), 16)
    assert exact.rounded(problem.slice().value(problem.at)).tolist() == [np.inf, np.inf, 2.0]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_of_the_users_own(compiled: bool) -> None:
    """Three functions of (eta, y), plain or Numba's, become a loss that kernels run; compared with its closed form."""
    functions = (
        lambda eta, y: np.log(np.cosh(eta - y)),
        lambda eta, y: np.tanh(eta - y),
        lambda eta, y: 1.0 / np.cosh(eta - y) ** 2,
    )
    if compiled:
        import numba

        functions = tuple(numba.njit(function) for function in functions)
    cosh = kernels.Loss("log-cosh", kernels.of_three(*functions), "real", "identity", lambda parameter, smoothing: 1.0)
    rng = np.random.default_rng(0)
    X, y, coef = rng.standard_normal((50, 3)), rng.standard_normal((50, 1)), rng.standard_normal((3, 1))
    problem = Problem(replace(cosh, smoothed=True), "float64 in float64", X, y, None, None, coef, np.zeros(1), 16)
    sums = exact.rounded(problem.slice().value_gradient(problem.at))
    residual = (X @ coef - y)[:, 0]
    np.testing.assert_allclose(sums[:3], X.T @ np.tanh(residual), rtol=1e-10)
    assert sums[4] == pytest.approx(np.log(np.cosh(residual)).sum(), rel=1e-12)
    second = exact.rounded(problem.slice().second_order(problem.at))
    assert second[0] == pytest.approx((X[:, 0] ** 2 / np.cosh(residual) ** 2).sum(), rel=1e-10)
