# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Documents with results: each has a schema and a page, and the commands print what its schema says."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.json_values import plain
from ad_compressed_perception.report.kit.document import Document
from ad_compressed_perception.report.schema_docs import (
    Page,
    index_text,
    json_schema_text,
    markdown_text,
)
from ad_road_simulation.closed_loop.drive_schema import MeasuredLatencies
from ad_road_simulation.demo.report_folder import DemoFiles
from benchmark.measurements_document import Measurements, ModelFiles
from support.compression import write_images
from support.json_schema import ALL, DOCS, check_document, violations
from support.labeled import SCENES, write_boxes
from support.models import write_detector
from support.report_documents import comparison_report, drive_document, search_document

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ALL.values(), ids=lambda page: page.name)
def test_schema_and_page_are_current(page: Page) -> None:
    """Regenerate them with: make schemas."""
    assert json.loads((DOCS / page.json_schema).read_text("utf-8")) == json.loads(json_schema_text(page))
    assert (DOCS / page.markdown).read_text("utf-8") == markdown_text(page)
    assert (DOCS / "index.md").read_text("utf-8") == index_text(tuple(ALL.values()))


def test_every_document_has_a_page() -> None:
    """A document without a page cannot be relied on by those who read it."""
    kinds = set()
    for package in ("ad_compressed_perception", "ad_road_simulation", "benchmark"):
        for path in (ROOT / package).rglob("*.py"):
            kinds |= set(
                re.findall(r'schema_: Literal\["([^"]+)"\] = field_of_kind', path.read_text("utf-8"))
            )
    assert kinds == set(ALL)
    assert len(ALL) == 19
    # Whatever is printed or written as a result is one of them: nobody makes its JSON by hand.
    for path in (
        *(ROOT / "ad_compressed_perception" / "cli").glob("*.py"),
        *(ROOT / "ad_road_simulation").rglob("report*.py"),
    ):
        assert "json.dumps" not in path.read_text("utf-8"), path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny detector, images for it, and labels."""
    folder = tmp_path_factory.mktemp("documents")
    write_detector(folder / "model")
    write_images(folder / "images", 12)
    write_boxes(folder / "coco", SCENES)
    (folder / "recipe.yaml").write_text(
        "schema: adcp-recipe/1\nname: small\npasses: [simplify]\ncalibration: {frames: 2}\n"
        "verify: {frames: 6}\naccept: {max_drop: 1.0, min_frames: 2}\n"
    )
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("adcp-backends/1", "backends"),
        ("adcp-benchmark/1", "benchmark model --iterations 2 --frames images"),
        ("adcp-parity/1", "parity model --frames images --rounds 2 --backends onnxruntime"),
        ("adcp-evaluation/1", "evaluate model --data coco"),
        ("adcp-inspect/1", "inspect model --profile --runs 1"),
        (
            "adcp-import/1",
            "import model/fp32.onnx made --task detection --decoder-option strides=[8,16,32] "
            "--labels car,person,sign",
        ),
        (
            "adcp-compression/1",
            "compress model --recipe recipe.yaml --calibration images --work work --data coco",
        ),
    ],
)
def test_a_command_prints_what_its_schema_says(
    kind: str, words: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, [*words.split(), "--json"])
    assert result.exit_code in (0, 3, 4), result.output
    check_document(json.loads(result.stdout), kind)


def test_the_figures_of_an_import_are_a_document(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed before: import.json had no schema, so that no reader could check it."""
    monkeypatch.chdir(place)
    words = "import model/fp32.onnx sampled --decoder yolox --labels car,person,sign --sample images"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    check_document(json.loads(Path("sampled/import.report/import.json").read_text()), "adcp-import-figures/1")


@pytest.mark.parametrize(
    "document",
    [
        comparison_report(),
        comparison_report("live"),
        search_document(),
        drive_document(),
        DemoFiles(written=["report.md"]),
        MeasuredLatencies(latency_ms={"int8:0abc": [3.5, 4.0]}),
        Measurements(
            replay=comparison_report(),
            accuracy={},
            files={"planning": ModelFiles(baseline_bytes=9, variant_bytes=3, integer_coverage=math.nan)},
        ),
    ],
    ids=lambda document: document.schema_,
)
def test_a_written_document_is_what_its_schema_says(document: Document) -> None:
    check_document(json.loads(document.to_json()), document.schema_)


def test_the_check_finds_what_a_schema_does_not_allow() -> None:
    """A check that lets everything pass would make the tests above worthless."""
    document = json.loads(search_document().to_json())
    schema = json.loads((DOCS / ALL["adcp-search/1"].json_schema).read_text("utf-8"))
    document["seconds"], document["color"] = "long", 1
    document["candidates"][0]["speed"]["pairs"] = 0.5
    del document["front"]
    assert violations(document, schema, schema) == [
        "$.front is missing",
        "$.candidates[0].speed.pairs: 0.5 is no integer",
        "$.seconds: 'long' is no number",
        "$.color is unknown",
    ]


def test_a_compression_prints_its_report_and_where_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One document: what is printed is the stored report, and the places of the files."""
    monkeypatch.chdir(place)
    words = "compress model --recipe recipe.yaml --calibration images --work twice --json"
    document = json.loads(CliRunner().invoke(app, words.split()).stdout)
    stored = document.pop("stored")
    report = json.loads(Path(stored["report"]).read_text("utf-8"))
    assert report.pop("stored") is None
    assert document == report
    assert Path(stored["file"]).is_file() and Path(stored["manifest"]).is_file()


def test_numbers_that_json_lacks_are_null() -> None:
    """NaN in a document makes strict readers refuse the whole of it."""
    import numpy as np

    found = plain({"a": (math.nan, np.float32(1.5), np.int64(2)), 3: [math.inf, "x", None, True]})
    assert found == {"a": [None, 1.5, 2], "3": [None, "x", None, True]}
    for page in ALL.values():
        assert issubclass(page.model, Document)
