# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small reports of each kind, and the same with other texts wherever a text may stand."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from pydantic import BaseModel

from ad_compressed_perception.core.manifest import Verdict
from ad_compressed_perception.report.schemas.agreement import (
    ClassAgreement,
    DetectionFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report, Source, TaskReport
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.host import Host
from ad_compressed_perception.report.schemas.pairs import (
    Alarm,
    ComparisonReport,
    ComparisonWindow,
    LimitsReport,
)
from ad_compressed_perception.report.schemas.search import SearchReport
from ad_compressed_perception.report.schemas.variant import VariantReport, VariantWindow
from ad_road_simulation.closed_loop.drive_schema import Drive
from ad_road_simulation.closed_loop.route_metrics import METRICS

# What a program reads, not a person.
_FIXED = {"schema", "schema_", "task", "kind", "status", "unit", "level", "verdict", "attribute", "gate"}


def variant(infer_ms: float, status: str | None = None) -> VariantReport:
    """Return a variant that processed 8 of 8 frames."""
    verdict = None
    if status is not None:
        reasons = ["mAP falls by 0.25"] if status != "accepted" else []
        verdict = Verdict(status=status, reasons=reasons)  # type: ignore[arg-type]
    return VariantReport(
        node="/x/detection",
        model="tiny",
        variant="int8",
        backend="onnxruntime",
        requested_provider="cuda",
        provider="CPUExecutionProvider",
        precision="int8",
        verdict=verdict,
        sent=8,
        received=8,
        processed=8,
        stages_ms={"infer": Percentiles(p50=infer_ms, p95=infer_ms, p99=infer_ms, max=infer_ms, count=8)},
        end_to_end_ms=Percentiles(p50=30.0, p95=31.0, p99=32.0, max=33.0, count=8),
    )


def comparison_report(kind: str = "bag", status: str = "accepted") -> Report:
    """Return a replay's or a live comparison's report in which every list has an entry."""
    car = ClassAgreement(precision=0.9, recall=0.9, f1=0.9, matched=9, missed=1, extra=1)
    found = DetectionFigures(mean_matched_iou=0.8, per_class={"car": car}, **car.model_dump())
    masks = SegmentationFigures(miou=0.97, differing_pixels_share=0.01, per_class_iou={"road": 0.99})
    tasks = {
        "detection": TaskReport(
            baseline="baseline",
            variants={"baseline": variant(20.0), "int8": variant(10.0, status)},
            comparison={"int8": ComparisonReport(pairs=8, speedup_infer_p50=2.0, agreement=found)},
        ),
        "segmentation": TaskReport(
            baseline="baseline",
            variants={"baseline": variant(20.0), "int8": variant(10.0, "rejected")},
            comparison={"int8": ComparisonReport(pairs=8, speedup_infer_p50=2.0, agreement=masks)},
        ),
    }
    report = Report(
        created="2026-01-01T00:00:00+00:00",
        measurement="interleaved",
        age_reference="the publish call",
        source=Source(kind=kind, bag="/drives/sunny", topic="/camera", frames=8, index=8, read=8),  # type: ignore[arg-type]
        host=Host(system="Linux", cpu="a processor", python="3.12", packages={"onnx": "1.16"}),
        tasks=tasks,
        notes=["A note."],
        files=["latency.png", "overlay_detection_1.png"],
    )
    if kind == "live":
        report.source = Source(kind="live", frames=8, duration_s=1.0)
        report.missing = ["/b/planning is silent"]
        alarm = Alarm(
            task="detection", variant="int8", figure="agreement", level="ERROR", sentence="agreement 0.2"
        )
        task = report.tasks["detection"]
        task.alarms = [alarm]
        task.limits = {"int8": LimitsReport(min_agreement=0.95, sources={"min_agreement": "a parameter"})}
        task.variants["int8"].windows = {"10s": VariantWindow(window_s=10.0, rate_hz=19.5, drop_share=0.25)}
        task.comparison["int8"].windows = {
            "10s": ComparisonWindow(window_s=10.0, pairs=40, score=0.2, score_low=0.1, score_high=0.3)
        }
    else:
        report.tasks["segmentation"].variants["int8"].reasons = {"failed: a broken image": 2}
    return report


def _interval(mean: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": mean, "high": mean}


def drive_document() -> Drive:
    """Return the report of a drive of two variants over one route."""
    one = {
        "gate": "rejected",
        "routes": 1,
        "endings": {"finished": 1},
        "latency_ms": {"p50": 7.0, "p99": 9.0},
        "images": {"taken": 9, "planned": 8, "dropped": 1, "failed": 0},
        "figures": {key: _interval(None if key == "least_gap_m" else 0.5) for key in METRICS},
    }
    comparison = {
        "variant": "int8",
        "reference": "baseline",
        "routes": 1,
        "differences": {key: _interval(0.1) for key in METRICS},
        "verdict": "worse",
        "reasons": ["departures and collisions +1 a route"],
    }
    document = {
        "schema": "adcp-drive/1",
        "model": "planner",
        "settings": {
            "routes": 1,
            "length_m": 200.0,
            "seed": 0,
            "traffic": 1.0,
            "weather": "rain",
            "latency": "measured",
        },
        "variants": {"baseline": {**one, "gate": None}, "int8": one},
        "comparison": [comparison],
        "files": {"offsets": "offsets.png", "differences": "differences.png", "images": ["at_20.png"]},
    }
    return Drive.model_validate(document)


def search_document(status: str = "accepted") -> SearchReport:
    """Return the document of a search with a winner, one that lost and one that failed, as of before."""
    drop = {"measure": "F1", "drop": 0.01, "low": 0.0, "high": 0.02, "frames": 30, "informative": 30}
    times = {"p50_ms": 5.0, "p99_ms": 9.0, "infer_p50_ms": 4.0}
    speed = {**times, "baseline_p50_ms": 9.0, "baseline_p99_ms": 9.9, "ratio": 1.8, "pairs": 30}
    lost = {"name": "float", "state": "out", "reason": "no better", "drop": drop, "speed": speed}
    failed = {"name": "qat", "state": "failed", "reason": "no torch", "drop": None, "speed": None}
    document = {
        "schema": "adcp-search/1",
        "model": "detector",
        "budget": {"text": "drop<=0.01"},
        "source": "/drives/sunny:/camera",
        "source_frames": {"source": "/drives/sunny", "index": 90, "checked": 90, "bad": {"broken": 3}},
        "frames": {"calibration": 16, "search": 30, "verification": 45},
        "facts": {"host": "a processor"},
        "front": ["int8"],
        "winner": "int8",
        "nearest_miss": None,
        "candidates": [
            {
                "name": "int8",
                "state": "winner",
                "reason": "",
                "drop": drop,
                "speed": speed,
                "size_ratio": 0.3,
            },
            {**lost, "size_ratio": None},
            {**failed, "size_ratio": None},
        ],
        "left_out": {"training": "torch is not installed"},
        "recipe": "adcp_work/winner.yaml",
        "seconds": 60.0,
        "compressed": {
            "verdict": {"status": status, "reasons": ["too few frames"]},
            "verdict_text": status,
        },
    }
    return SearchReport.model_validate(document)


def with_texts(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    """Return a document, or a model of one, with every text that may be any text changed, keys included."""
    if isinstance(value, BaseModel):
        copy = value.model_copy()
        for field in type(value).model_fields:
            # Past the checks: what a renderer is given may come from another version or another program.
            copy.__dict__[field] = with_texts(getattr(value, field), change, field)
        return copy
    if isinstance(value, dict):
        if name in (
            "per_class",
            "per_class_iou",
            "packages",
            "reasons",
            "facts",
            "left_out",
            "bad",
            "endings",
        ):
            return {change(key): with_texts(one, change, key) for key, one in value.items()}
        return {key: with_texts(one, change, key) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_texts(one, change, name) for one in value]
    return change(value) if isinstance(value, str) and name not in _FIXED else value


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}", ""))


def elements(page: str) -> list[tuple[str, str]]:
    """Return the elements of a page with their classes, in order: what it is apart from its texts."""
    parser = _Elements()
    parser.feed(page)
    return parser.found
