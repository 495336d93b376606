"""Where the packages are; everything else about them stands in pyproject.toml."""

from setuptools import setup

setup(
    packages=[
        "mpigd",
        "mpigd.convert",
        "mpigd.estimators",
        "mpigd.exchange",
        "mpigd.options",
        "mpigd.planning",
        "mpigd.report",
        "mpigd.solvers",
        "mpigd_kernels",
        "mpigd_data",
    ],
    package_dir={"mpigd_kernels": "kernels", "mpigd_data": "data"},
    package_data={
        "mpigd": ["py.typed"],
        "mpigd.exchange": ["*.json"],
        "mpigd.report": ["*.j2"],
        "mpigd_kernels": ["py.typed"],
        "mpigd_data": ["*.h5"],
    },
    include_package_data=False,  # MANIFEST.in is for the archive of sources, which has more than a wheel
)
