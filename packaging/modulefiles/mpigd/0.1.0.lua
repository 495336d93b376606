-- For Lmod. mpigd is in a virtual environment: python3 -m venv PREFIX && PREFIX/bin/pip install mpigd
-- Adapt the two lines below, and copy this to a directory of MODULEPATH as mpigd/0.1.0.lua.
local prefix = "/opt/mpigd/0.1.0"
local mpi = "openmpi" -- the module of the MPI that ranks are started with

help([[
mpigd fits generalised linear models to data that does not fit one machine:
    srun --mpi=pmix -n 64 mpigd train table.h5 --run-dir run
mpigd --help lists its commands.
]])
whatis("Name: mpigd")
whatis("Version: 0.1.0")
whatis("Description: generalised linear models by distributed gradient descent over MPI")

depends_on(mpi)
conflict("mpigd")
prepend_path("PATH", pathJoin(prefix, "bin"))
-- A rank is a process of one thread, unless mpigd --threads says more.
setenv("OMP_NUM_THREADS", "1")
setenv("OPENBLAS_NUM_THREADS", "1")
-- Ranks read the same packages from a shared file system: nobody is to write beside them.
setenv("PYTHONDONTWRITEBYTECODE", "1")
