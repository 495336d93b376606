# A recipe for Spack 1.0 or later:  spack repo add packaging/spack && spack install py-mpigd ^openmpi@5
# tests/test_packaging.py compares it with pyproject.toml.

from spack_repo.builtin.build_systems.python import PythonPackage

from spack.package import *


class PyMpigd(PythonPackage):
    """Generalised linear models by distributed gradient descent over MPI: the same bits on any number of ranks."""

    license("BSD-3-Clause")

    # There is no release to download yet: `spack develop --path=$PWD py-mpigd@0.1.0` in a Spack environment takes the
    # sources from here.
    version("0.1.0")

    variant("convert", default=True, description="Convert Parquet and Arrow, read further compression filters")
    variant("inference", default=True, description="Standard errors and intervals")
    variant("report", default=True, description="Pages about a run")
    variant("sklearn", default=False, description="Estimators of scikit-learn's kind")

    depends_on("python@3.10:", type=("build", "run"))
    depends_on("py-setuptools@77:", type="build")

    with default_args(type=("build", "run")):
        depends_on("py-cyclopts@5:")
        depends_on("py-docstring-parser@0.15:")
        depends_on("py-greenlet@3:")
        depends_on("py-h5py@3.8:")
        depends_on("py-llvmlite@0.43:")
        depends_on("py-mpi4py@4.0:")
        depends_on("py-numba@0.60:")
        depends_on("py-numpy@1.26:")
        depends_on("py-rich@13:")
        depends_on("py-tomli-w@1.0:")
        depends_on("py-xxhash@3.0:")

        with when("+convert"):
            depends_on("py-hdf5plugin@4:")
            depends_on("py-pyarrow@14:")
        with when("+inference"):
            depends_on("py-scipy@1.14:")
        with when("+report"):
            depends_on("py-jinja2@3.1:")
            depends_on("py-matplotlib@3.8:")
            depends_on("py-scipy@1.14:")
        with when("+sklearn"):
            depends_on("py-scikit-learn@1.6:")

    import_modules = ["mpigd", "mpigd_data", "mpigd_kernels"]
