# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reports as one HTML file: they load nothing, names in them stay names, and verdicts come first."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.search.search_markdown import render_search
from ad_compressed_perception.compression.verification.rerender import (
    render_again,
)
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.report.compression_markdown import compression_body, compression_findings
from ad_compressed_perception.report.findings import report_findings
from ad_compressed_perception.report.kit.page import render_page
from ad_compressed_perception.report.kit.page_images import MOST_PAGE_BYTES
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.panels import write_png
from ad_compressed_perception.report.schemas.agreement import DetectionFigures
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.report.schemas.compression import CompressionReport
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from ad_road_simulation.closed_loop import report as drive_report
from ad_road_simulation.closed_loop.drive_markdown import render_drive
from dev.check_html import MOST_BYTES, faults
from support.compression import small_recipe, write_images
from support.models import write_planner
from support.report_documents import (
    comparison_report,
    drive_document,
    elements,
    search_document,
    variant,
    with_texts,
)

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x.png onerror=alert(1)>',
    "![x](http://evil.example/x.png)",
    "[accepted](javascript:alert(1))",
    "<http://evil.example>",
    "\n\n# accepted\n\n",
    "\n| a | b |\n| --- | --- |\n",
    "```\n</style><script>",
    "**accepted** `code` _x_ &lt; &#60;",
    "\n[x]: http://evil.example\n\n[x]",
    "\n\n---\n\n<!-- -->",
    "1. one",
    "> quoted",
    "\x00\x1b[31m\u202e\ud800",
)

EMPTY = DetectionFigures(precision=1, recall=1, f1=1, matched=0, missed=0, extra=0, mean_matched_iou=0)


def comparison_page(report: Report) -> str:
    return render_page(render_markdown(report), (), report_findings(report))


def compression_page(report: CompressionReport) -> str:
    return render_page(compression_body(report), (), compression_findings(report))


def rendered_page(rendered: Rendered) -> str:
    return render_page(rendered.markdown, (), rendered.findings)


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a real compression's report."""
    folder = tmp_path_factory.mktemp("compressed")
    manifest = load_manifest(write_planner(folder / "model"))
    images = write_images(folder / "images", 12)
    recipe = small_recipe(folder / "r", calibration={"frames": 4}, verify={"frames": 6})
    return compress_model(manifest, recipe, str(images), work=folder / "work").report_folder


@pytest.fixture(scope="module")
def pages(compressed: Path) -> dict[str, Callable[[Callable[[str], str]], str]]:
    """Return each kind of report as a function from a change of its texts to its page."""
    small = CompressionReport.parse((compressed / "report.json").read_bytes())
    return {
        "replay": lambda change: comparison_page(with_texts(comparison_report(), change)),
        "live": lambda change: comparison_page(with_texts(comparison_report("live"), change)),
        "compression": lambda change: compression_page(with_texts(small, change)),
        "search": lambda change: rendered_page(render_search(with_texts(search_document(), change))),
        "drive": lambda change: rendered_page(render_drive(with_texts(drive_document(), change))),
    }


@pytest.mark.parametrize("kind", ["replay", "live", "compression", "search", "drive"])
@pytest.mark.parametrize("text", NASTY)
def test_a_text_in_a_report_changes_nothing_but_the_text(
    kind: str, text: str, pages: dict[str, Callable[[Callable[[str], str]], str]]
) -> None:
    """Failed before: a label ``<script>`` was safe, but one with a line ``# accepted`` became a heading."""
    page = pages[kind](lambda found: f"a{text}z")
    assert faults(page) == []
    assert elements(page) == elements(pages[kind](lambda found: "name"))


@given(text=st.lists(st.sampled_from([*NASTY, *"\n*_`[]()<>|#-+~\\!&;:/ ab1"]), max_size=8).map("".join))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_made_of_marks_stay_texts(text: str) -> None:
    def page(name: str) -> str:
        return comparison_page(with_texts(comparison_report(), lambda found: name))

    # An empty name leaves cells and headings empty, not out.
    assert elements(page(f"a{text}z")) == elements(page("name"))


def test_a_page_stands_alone(tmp_path: Path) -> None:
    write_png(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    text = "# A & B\n\n| x | y |\n| --- | ---: |\n| `1` | 2 |\n\n![a <dot>](dot.png)\n\n"
    text += "[more](more/report.md) <b>\n"
    page = render_page(text, (tmp_path,))
    assert faults(page) == []
    assert "<title>A &amp; B</title>" in page
    assert "<td><code>1</code></td>" in page
    assert '<td class="right">2</td>' in page
    assert '<img alt="a &lt;dot&gt;" src="data:image/png;base64,' in page
    assert "href" not in page
    assert "more &lt;b&gt;" in page


def test_only_images_of_the_report_s_own_folder_are_embedded(tmp_path: Path) -> None:
    """A report of another computer may name any path; what cannot be shown is named in its place."""
    own = tmp_path / "report"
    own.mkdir()
    secret = write_png(tmp_path / "secret.png", np.zeros((9, 9, 3), np.uint8))
    (own / "link.png").symlink_to(secret)
    (own / "text.png").write_text("<svg onload=alert(1)>")
    (own / "cut.png").write_bytes(secret.read_bytes()[:40])
    names = [
        "../secret.png",
        str(secret),
        "link.png",
        "text.png",
        "cut.png",
        "gone.png",
        "data:image/png;base64,AA",
    ]
    page = render_page("# x\n\n" + "\n\n".join(f"![image]({name})" for name in names), (own,))
    assert "<img" not in page
    assert page.count('class="missing"') == len(names)
    assert faults(page) == []


def test_many_large_images_become_smaller_and_none_disappears_silently(tmp_path: Path) -> None:
    """Twenty side-by-side images of a 1080p replay are 60 MB of PNG: more than can be sent."""
    random = np.random.default_rng(0)
    names = [f"overlay_{index}.png" for index in range(20)]
    noise = random.integers(0, 255, (270, 646, 3), np.uint8)
    for name in names:
        write_png(tmp_path / name, cv2.resize(noise, (1286, 540)))
    page = render_page("# x\n\n" + "\n\n".join(f"![{name}]({name})" for name in names), (tmp_path,))
    assert len(page) < MOST_BYTES
    assert page.count("<img") + page.count('class="missing"') == len(names)
    assert page.count("<img") == len(names)
    assert sum(map(len, re.findall(r'src="([^"]*)"', page))) <= MOST_PAGE_BYTES
    assert faults(page) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p>", '<p><script>alert("x")</script>'),
        ("<p>", '<p><img alt="" src="http://evil.example/x.png">'),
        ("<p>", '<p><img alt="" src="data:image/png;base64,AAAA">'),
        ("<p>", '<p><a href="https://evil.example">x</a>'),
        ("<p>", '<p><a href="#nowhere">x</a>'),
        ("<p>", '<p style="background: url(//evil.example)">'),
        ("<p>", '<p onclick="x()">'),
        ("<p>", "<p><em>"),
        ("<p>", '<p id="x"><code id="x"></code>'),
        ("<style>", "<style>@import 'x.css';"),
        ("default-src 'none'", "default-src *"),
        ("<head>", '<head><base href="//evil.example">'),
        ("<head>", '<head><meta http-equiv="refresh" content="0; url=//evil.example">'),
        ("<!DOCTYPE html>", ""),
        ("</html>", "<!-- x --></html>"),
    ],
)
def test_the_check_of_pages_finds_what_reaches_out_or_is_broken(before: str, after: str) -> None:
    page = render_page("# x\n\nA paragraph.\n", ())
    assert faults(page) == []
    assert faults(page.replace(before, after, 1))


# ---- what comes first


def levels(report: Report) -> dict[str, str]:
    return {one.text.partition(":")[0]: one.level for one in report_findings(report)}


def test_the_verdict_stands_above_the_figures_and_the_worst_comes_first() -> None:
    page = comparison_page(comparison_report())
    first = re.findall(r'<li class="(\w+)"><strong>\w+</strong> <span>([^:<]+)', page)
    assert first == [("alarm", "segmentation/int8"), ("ok", "detection/int8")]
    assert page.index('class="findings"') < page.index("<table")
    assert '<td class="ok">accepted</td>' in page


def test_nothing_is_green_that_was_not_compared() -> None:
    """An accepted variant whose frames never met the baseline's, or that no gate saw, is no success."""
    report = comparison_report()
    assert levels(report)["detection/int8"] == "ok"
    report.tasks["detection"].comparison["int8"].pairs = 0
    assert levels(report)["detection/int8"] == "warning"
    report.tasks["detection"].comparison["int8"] = ComparisonReport(pairs=8, agreement=EMPTY)
    assert levels(report)["detection/int8"] == "warning", "no object on either side"
    for change in ({"problems": ["frames are missing"]}, {"missing": ["/b/x is silent"]}):
        assert "ok" not in levels(comparison_report().model_copy(update=change)).values()
    assert levels(comparison_report("live"))["detection/int8"] == "note", "an alarm rings"
    report = comparison_report()
    report.tasks["detection"].variants["int8"] = variant(10.0)
    assert levels(report)["detection/int8"] == "note"
    assert {one.level for one in report_findings(Report())} == {"warning"}


def test_lost_failed_and_late_frames_are_named() -> None:
    report = comparison_report()
    one = report.tasks["detection"].variants["int8"]
    one.received, one.failed, one.dropped_busy, one.deadline_ms, one.deadline_misses = 20, 3, 4, 50.0, 5
    found = [(each.level, each.text) for each in report_findings(report)]
    assert ("alarm", "detection/int8: no counter accounts for 5 frames.") in found
    assert ("warning", "detection/int8: 3 of 20 frames failed.") in found
    assert ("warning", "detection/int8: 4 of 20 frames were dropped.") in found
    assert ("warning", "detection/int8: 5 of 8 frames missed the deadline of 50 ms.") in found


@pytest.mark.parametrize(
    ("status", "level"),
    [("accepted", "ok"), ("rejected", "alarm"), ("inconclusive", "warning"), ("x", "warning")],
)
def test_a_search_is_as_good_as_the_verdict_on_its_winner(status: str, level: str) -> None:
    found = {one.text: one.level for one in render_search(search_document(status)).findings}
    (verdict,) = (text for text in found if text.startswith("int8: "))
    assert found[verdict] == level
    without = search_document().model_copy(update={"winner": None, "compressed": None})
    assert render_search(without).findings[0].level == "alarm"


def test_what_a_search_measured_on_is_in_words() -> None:
    """It was the text of Python's lists and mappings, and named twice what was not tried."""
    facts = {
        "runtimes": [["onnxruntime", "fp32"], ["openvino", "bf16"]],
        "edits": {"fit": {"input_size": {"fit": "frames"}}},
        "left_out": {"coarse": "needs argmax"},
        "baseline_ms": 29.991428498760797,
        "trains": False,
    }
    text = render_search(search_document().model_copy(update={"facts": facts})).markdown
    assert text[text.index("## Measured on") :].split("\n\n")[1].splitlines() == [
        "- runtimes: onnxruntime fp32, openvino bf16",
        "- edits: fit input_size fit frames",
        "- baseline_ms: 30",
        "- trains: no",
    ]


# ---- adcp report


def write_documents(folder: Path, compressed: Path) -> list[Path]:
    """Write a report of each kind with its images, in a folder each; return the documents."""
    shutil.copytree(compressed, folder / "compression")
    documents: dict[str, tuple[str, str]] = {
        "replay": ("report.json", comparison_report().to_json()),
        "live": ("live.json", comparison_report("live").to_json()),
        "search": ("search.json", search_document().to_json()),
        "drive": ("report.json", drive_document().to_json()),
    }
    for kind, (name, text) in documents.items():
        (folder / kind).mkdir()
        (folder / kind / name).write_text(text)
        for image in ("latency", "overlay_detection_1", "front", "offsets", "differences", "at_20"):
            write_png(folder / kind / f"{image}.png", np.full((120, 160, 3), 90, np.uint8))
    return [
        folder / "compression" / "report.json",
        *(folder / kind / one[0] for kind, one in documents.items()),
    ]


@pytest.fixture
def drives_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the simulation's kind where the environment was set up before it had one."""
    from ad_compressed_perception.core import registry

    found = registry._targets(registry.REPORTS)
    target = f"{drive_report.__name__}:{drive_report.render_document.__name__}"
    monkeypatch.setitem(found, "adcp-drive/1", found.get("adcp-drive/1", target))
    assert found["adcp-drive/1"] == target


@pytest.mark.usefixtures("drives_are_known")
def test_every_kind_of_report_is_rendered_from_its_document(tmp_path: Path, compressed: Path) -> None:
    for document in write_documents(tmp_path, compressed):
        written = render_again(document)
        page = document.with_suffix(".html")
        assert page in written and document.with_suffix(".md") in written
        assert faults(page.read_text("utf-8")) == []
        assert "<img" in page.read_text("utf-8") or "live" in page.parts[-2]
        only = tmp_path / "only" / f"{document.parent.name}.html"
        only.parent.mkdir(exist_ok=True)
        before = sorted(document.parent.iterdir())
        assert render_again(document, only) == [only]
        assert sorted(document.parent.iterdir()) == before
        assert only.read_text("utf-8") == page.read_text("utf-8")


@pytest.mark.usefixtures("drives_are_known")
@pytest.mark.parametrize("kind", ["adcp-report/1", "adcp-compression/1", "adcp-search/1", "adcp-drive/1"])
def test_a_document_with_parts_missing_is_one_line(tmp_path: Path, kind: str) -> None:
    document: dict[str, Any] = {"schema": kind, "model": "x", "frames": 3}
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="is no adcp-") as caught:
        render_again(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_document_is_never_replaced_by_its_page(tmp_path: Path) -> None:
    document = tmp_path / "live.html"
    document.write_text(comparison_report("live").to_json())
    with pytest.raises(DataError, match="would be replaced"):
        render_again(document)
    assert document.read_text() == comparison_report("live").to_json()


# ---- in a browser


_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_COUNT = """<script>onload = () => { document.title = [
  [...document.images].filter(one => one.naturalWidth > 0).length, document.styleSheets.length] }</script>"""


@dataclass(frozen=True)
class Browser:
    """A browser that reaches no other computer."""

    program: str
    folder: Path

    def open(self, page: str) -> tuple[str, set[str]]:
        """Return the document as it is shown, and the addresses outside that were asked for."""
        file, log = self.folder / "page.html", self.folder / "net.json"
        file.write_text(page, encoding="utf-8")
        command = (
            *(self.program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"),
            *(f"--user-data-dir={self.folder / 'profile'}", f"--log-net-log={log}", file.as_uri()),
        )
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        return shown, set(
            re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]*)"', log.read_text("utf-8", "replace"))
        )


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: {', '.join(_BROWSERS)}")
    (tmp_path / "browser").mkdir()
    return Browser(program, tmp_path / "browser")


@pytest.mark.slow
@pytest.mark.usefixtures("drives_are_known")
def test_a_browser_without_network_shows_every_image_and_asks_for_nothing(
    tmp_path: Path, compressed: Path, browser: Browser
) -> None:
    """The images and the style are counted by a script, which the page's policy is opened for in a copy."""
    reaching_out = '<!DOCTYPE html><title>x</title><img alt="" src="http://evil.example/x.png">'
    _, own = browser.open("<!DOCTYPE html><title>x</title>")
    _, asked = browser.open(reaching_out)
    assert asked - own == {"http://evil.example/x.png"}, "the log of the browser shows what a page asks for"
    for document in write_documents(tmp_path, compressed):
        (page,) = render_again(document, tmp_path / "page.html")
        text = page.read_text("utf-8")
        _, asked = browser.open(text)
        assert asked <= own, document.parent.name
        opened = text.replace("default-src", "script-src 'unsafe-inline'; default-src", 1)
        shown, _ = browser.open(opened.replace("</body>", f"{_COUNT}</body>"))
        assert f"<title>{text.count('<img')},1</title>" in shown, document.parent.name
        blocked, _ = browser.open(text.replace("</body>", f"{_COUNT}</body>"))
        assert f"<title>{text.count('<img')},1</title>" not in blocked, (
            "the policy of the page allows a script"
        )
