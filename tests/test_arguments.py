"""What stands on the command line, in files of options and in the environment, and what comes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mpigd import arguments
from mpigd.cli import COMMANDS
from mpigd.errors import UsageError
from mpigd.options import Convert, Demo, Generate, Plan, Predict, Train

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = {name: command.options for name, command in COMMANDS.items()}


def parse(*given: Any) -> Any:
    return arguments.parse(list(map(str, given)), KINDS)


def test_arguments_become_options() -> None:
    assert parse() == Demo()
    assert parse("train", "a.h5", "b.h5", "--l2", 0.5, "--no-intercept") == Train(
        (Path("a.h5"), Path("b.h5")), l2=0.5, intercept=False
    )
    assert parse("plan", "a.h5", "--ranks", 8, "--learning-rate", "auto") == Plan((Path("a.h5"),), ranks=8)
    assert parse("train", "a.h5", "--resume", "--run-dir", "r").resume == "yes"
    assert parse("generate", "a.h5", "--rows", 3, "--columns", 2) == Generate(Path("a.h5"), rows=3, columns=2)
    chosen = parse("convert", "a.csv", "b.h5", "--columns", "age", "dose*")
    assert chosen == Convert((Path("a.csv"), Path("b.h5")), columns=("age", "dose*"))
    assert parse("predict", "run", "a.h5", "b.h5") == Predict(Path("run"), (Path("a.h5"), Path("b.h5")))


def test_the_command_line_counts_before_the_file_and_that_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "options.toml"
    file.write_text('[train]\nl2 = 2.0\nl1 = 2.0\ntest_data = ["t.h5"]\nlearning_rate = 0.25\n[plan]\nl2 = 7.0\n')
    for name, value in {"L2": 3.0, "L1": 3.0, "TOL": 3e-3}.items():
        monkeypatch.setenv(f"MPIGD_TRAIN_{name}", str(value))
    chosen = parse("train", "a.h5", "--config", file, "--l2", 1.0)
    assert (chosen.l2, chosen.l1, chosen.tol) == (1.0, 2.0, 3e-3)
    assert (chosen.test_data, chosen.learning_rate) == ((Path("t.h5"),), 0.25)


def test_a_printed_file_says_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("train", "a.h5", "--loss", "huber", "--costs", 2, 3, "--lower", 0, "--init", "m.h5", "--memory", "2GiB")
    assert parse(*given, "--print-config") is None
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["train"]["costs"] == [2.0, 3.0]
    file = tmp_path / "options.toml"
    file.write_text(printed)
    assert parse("train", "--config", file) == parse(*given)
    # That of a run holds more than options.
    file.write_text(printed + '[environment]\nmpigd = "0"\n')
    assert parse("train", "--config", file) == parse(*given)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["trainn"], ['Did you mean "train"']),
        (["train", "a.h5", "--lerning-rate", "1"], ["--lerning-rate", "Did you mean --learning-rate"]),
        (["train", "a.h5", "--loss", "logstic"], ['Did you mean "logistic"', "mpigd train --help"]),
        (["train", "a.h5", "--l2", "much"], ["--l2", "much"]),
        (["train"], ["--data requires an argument"]),
        (["train", "a.h5", "--quiet", "--verbose"], ["--quiet: expected no --verbose"]),
        (["train", "a.h5", "--config", "nowhere.toml"], ["--config nowhere.toml: no such file"]),
        (["--completion", "csh"], ["--completion", "csh"]),
    ],
)
def test_what_is_wrong_is_named(given: list[str], texts: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        parse(*given)
    for text in texts:
        assert text in str(refused.value)


@pytest.mark.parametrize("text", ["[trai", "[train]\nlerning_rate = 1\n", 'train = "x"\n', "[train]\nl2 = 'much'\n"])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"wrong\.toml"):
        parse("train", "a.h5", "--config", file)


@pytest.mark.parametrize("command", KINDS)
def test_help_shows_every_option_in_its_group(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(command, "--help") is None
    short = capsys.readouterr().out
    assert parse(command, "--help-all") is None
    whole = capsys.readouterr().out
    assert len(short) <= len(whole)
    for field in fields(KINDS[command]):
        if field.kw_only:
            assert f"--{field.name.replace('_', '-')}" in short
    assert short.count("mpigd " + command) >= 2  # usage and an example


def test_groups_stand_in_an_order_that_begins_with_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    parse("train", "--help")
    shown = capsys.readouterr().out
    places = [shown.index(f"─ {title} ") for title in ("The model", "The penalty", "The solver", "The run")]
    assert places == sorted(places)


def test_examples_of_the_help_are_understood() -> None:
    assert arguments.EXAMPLES.keys() == KINDS.keys()
    for examples in arguments.EXAMPLES.values():
        for example in examples:
            assert parse(*example.replace("'", "").split()) is not None


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("--completion", "bash") is None
    script = tmp_path / "complete.bash"
    script.write_text(capsys.readouterr().out)
    asked = f"source {script}; COMP_WORDS=(mpigd train --learn); COMP_CWORD=2; _mpigd; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert "--learning-rate" in done.stdout
