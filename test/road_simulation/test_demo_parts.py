# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo is made of: its choice of a variant, its folder, its progress, its page, its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.analysis.evaluate import Figure
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.report.overlay import write_png
from ad_compressed_perception.workspace.default_models import compressed_variant, default_models
from ad_road_simulation.demo.page import render_page
from ad_road_simulation.demo.report_folder import MARKER, report_folder
from ad_road_simulation.demo.sentences import judgment
from ad_road_simulation.demo.steps import Steps
from support.models import write_segmenter
from support.replay import add_variant

# ---- which models, which variant


def test_the_compressed_variant_is_the_first_that_was_accepted(tmp_path: Path) -> None:
    model = write_segmenter(tmp_path)
    assert compressed_variant(load_manifest(model)) is None
    # The less bad of what there is: rejected, then not judged, then accepted, however late it stands.
    for name, status in (("bad", "rejected"), ("new", None), ("good", "accepted"), ("later", "accepted")):
        add_variant(model, name, status)
        chosen = compressed_variant(load_manifest(model))
        assert chosen == ("good" if name == "later" else name)


def test_the_default_models_are_one_a_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ad_compressed_perception.workspace.default_models.models_folder", lambda: tmp_path)
    for name in ("road_detection", "road_segmentation"):
        write_segmenter(tmp_path / name)
    with pytest.raises(DataError, match="road_planning.*is missing"):
        default_models()
    write_segmenter(tmp_path / "road_planning")
    assert [folder.name for folder in default_models()] == [
        "road_detection",
        "road_segmentation",
        "road_planning",
    ]


# ---- the folder


def test_a_second_run_removes_what_the_first_wrote_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with report_folder(tmp_path, ["part", "report.md"]):
        (tmp_path / "part").mkdir()
        (tmp_path / "part" / "old").touch()
        (tmp_path / "extra.png").touch()
    with report_folder(tmp_path, ["part", "report.md"]):
        assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER, "mine.txt"]
        (tmp_path / "report.md").touch()
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_what_is_somebody_elses_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    # Not even where a marker that nobody vouches for names it.
    (tmp_path / MARKER).write_text('{"schema": "something", "written": ["part", "../part"]}')
    with pytest.raises(DataError, match="name another folder"), report_folder(tmp_path, ["part"]):
        pytest.fail("it must not begin")
    assert (tmp_path / "part").is_dir()


def test_what_an_interrupted_run_left_is_kept_until_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), report_folder(out, ["part", "report.md"]):
        (out / "part").mkdir()
        raise KeyboardInterrupt
    assert (out / "part").is_dir()
    with report_folder(out, ["part", "report.md"]):
        assert not (out / "part").exists()


# ---- progress


class Heard:
    """Takes down what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Take a text down."""
        self.said.append(text)

    def advance(self, done: int, total: int) -> None:
        """Take a count down."""
        self.said.append(f"{done} of {total}")


def test_every_word_of_progress_bears_the_number_of_its_step() -> None:
    heard = Heard()
    steps = Steps(heard, ("record", "replay"))
    steps.begin("record")
    steps.advance(1, 2)
    steps.begin("replay")
    steps.say("starting the nodes")
    assert heard.said == ["1/2 record", "1 of 2", "2/2 replay", "2/2 replay: starting the nodes"]
    assert list(steps.seconds) == ["record"]


# ---- the page


def test_a_page_holds_its_images_and_needs_nothing_else(tmp_path: Path) -> None:
    write_png(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    text = "# A & B\n\n| x |\n| --- |\n| `1` |\n\n![a <dot>](dot.png)\n\n[more](more/report.md) <script>\n"
    page = render_page(text, tmp_path)
    assert "<title>A &amp; B</title>" in page
    assert "<td><code>1</code></td>" in page
    assert '<img alt="a &lt;dot&gt;" src="data:image/png;base64,' in page
    assert "href" not in page
    assert "more" in page
    assert "<script>" not in page
    with pytest.raises(DataError, match="gone.png"):
        render_page("![](gone.png)", tmp_path)


# ---- the words


@pytest.mark.parametrize(
    ("difference", "lower_is_better", "said"),
    [
        (Figure(-0.02, -0.03, -0.01), False, "a loss beyond chance"),
        (Figure(-0.02, -0.03, -0.01), True, "a gain beyond chance"),
        (Figure(0.02, 0.01, 0.03), True, "a loss beyond chance"),
        (Figure(-0.02, -0.05, 0.01), False, "which may be chance"),
        (Figure(0.0, 0.0, 0.0), False, "no difference"),
        (Figure(0.1, float("nan"), float("nan")), False, "of which nothing can be said"),
    ],
)
def test_a_difference_is_called_what_its_interval_says(
    difference: Figure, lower_is_better: bool, said: str
) -> None:
    assert judgment(difference, lower_is_better=lower_is_better) == said
