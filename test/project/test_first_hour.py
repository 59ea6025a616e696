# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stranger's first hour: every command and every line of Python of README and docs/start, run in order.

On a tiny detector, planner, drive and labeled images that bear the names used there. ``make`` and ``ros2``
are looked up instead: other tests run the demo and the launch files.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest
import typer.main

from ad_compressed_perception.cli import main as cli
from support.bags import write_bag
from support.decoder_models import planner
from support.examples import EXAMPLES, registered
from support.labeled import SCENES, write_boxes
from support.models import draw_scene, write_detector
from support.nonsense import op

REPOSITORY = Path(__file__).parents[2]
README, START = REPOSITORY / "README.md", REPOSITORY / "docs" / "start"
if not START.is_dir():
    pytest.skip("no docs beside the tests", allow_module_level=True)
PAGES = [README, *sorted(START.glob("*.md"))]
_BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```")
VERDICTS = {0, 3, 4}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of the blocks of code, in order."""
    return _BLOCK.findall(page.read_text("utf-8"))


def commands(text: str) -> list[list[str]]:
    """Return the commands of a block as words, without comments; a backslash continues a line."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with what a stranger brings, as current folder."""
    shutil.copy(write_detector(tmp_path / "given") / "fp32.onnx", tmp_path / "my_detector.onnx")
    turning = planner(
        [-0.02], [0.0], [0.0], [op("Identity", "numbers", "inverse_radius")], {"inverse_radius": [1, 1]}
    )
    shutil.copy(turning(tmp_path / "turning"), tmp_path / "planner.onnx")
    write_bag(tmp_path / "drive", [draw_scene(index) for index in range(260)], compressed=False)
    write_boxes(tmp_path / "labeled", SCENES)
    cv2.imwrite(str(tmp_path / "front.jpg"), draw_scene(0))
    for name in ("models", "docs", "examples"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADCP_WORK", raising=False)
    return tmp_path


def run_adcp(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def run_python(text: str, page: Path) -> None:
    exec(compile(text, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.filterwarnings("error::ad_compressed_perception.core.renamed.RenamedWarning")
def test_every_step_of_the_first_model_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks called bash and python, by present names; compress ends with any verdict, the rest with 0."""
    page, ran = START / "first_model.md", []
    with ExitStack() as stack:
        for language, text in blocks(page):
            if language == "python":
                run_python(text, page)
                ran.append("python")
            for words in commands(text) if language == "bash" else []:
                if words[:2] == ["pip", "install"]:
                    example = Path(words[2])
                    assert example.parent == Path("examples")
                    stack.enter_context(registered(example.name, place / f"pip_{example.name}", monkeypatch))
                    continue
                assert words[0] == "adcp", words
                status = run_adcp(words, monkeypatch)
                shown = capsys.readouterr()
                assert status in (VERDICTS if words[1] == "compress" else {0}), f"{words}: {shown}"
                ran.append(words[1])
    steps = "import inspect compress report benchmark evaluate python import compress"
    assert ran == steps.split()


def test_the_commands_of_the_readme_are_those_of_the_first_model() -> None:
    """So they are run above; a stranger who follows one page is where the other one begins."""
    first, second = (
        [words for language, text in blocks(page) if language == "bash" for words in commands(text)]
        for page in (README, START / "first_model.md")
    )
    assert len(first) == 3 and [words for words in first if words not in second] == []


def test_the_python_of_the_readme_finds_something(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = (text for language, text in blocks(README) if language == "python")
    run_python(text, README)
    assert "car" in capsys.readouterr().out  # on the image of a real drive that it names


def test_the_readme_leads_to_the_model_and_that_page_to_the_decoder() -> None:
    """The second step after the README, and the third."""
    assert "(docs/start/first_model.md)" in README.read_text("utf-8")
    assert "(../../examples/custom_decoder/README.md)" in (START / "first_model.md").read_text("utf-8")
    assert (EXAMPLES / "custom_decoder" / "pyproject.toml").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_launch_files_and_options_that_are_named_exist(page: Path) -> None:
    """Blocks that are not run: targets of make, launch files with arguments, verbs with options."""
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    verbs = typer.main.get_command(cli.app).commands
    arguments = "\n".join(path.read_text("utf-8") for path in REPOSITORY.glob("*/launch_support/**/*.py"))
    for language, text in blocks(page):
        if language:
            continue
        for words in commands(text):
            if words[0] == "make":
                assert re.search(rf"(?m)^{words[1]}:", makefile), words
            elif words[:2] == ["ros2", "launch"]:
                assert (REPOSITORY / "launch" / words[3]).is_file(), words
                for word in words[4:]:
                    assert f'"{word.partition(":=")[0]}"' in arguments, word
            elif words[0] == "adcp":
                known = {
                    option for one in verbs[words[1]].params for option in (*one.opts, *one.secondary_opts)
                }
                given = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
                assert given <= known, words
