# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""report.md: ratios first, counters that account for every frame, and warnings."""

from __future__ import annotations

from ad_compressed_perception.core.manifest import Verdict
from ad_compressed_perception.replay.interleaving import INTERLEAVING
from ad_compressed_perception.report.agreement_markdown import figures_text
from ad_compressed_perception.report.frame_counters import frame_counts_text
from ad_compressed_perception.report.markdown import render_markdown
from ad_compressed_perception.report.schemas.agreement import (
    ClassAgreement,
    DetectionFigures,
    PlanningFigures,
    SegmentationFigures,
)
from ad_compressed_perception.report.schemas.comparison import Report, Source, TaskReport
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.pairs import ComparisonReport
from ad_compressed_perception.report.schemas.variant import VariantReport
from support.report_documents import comparison_report

NOTHING = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "matched": 0, "missed": 0, "extra": 0}
CAR = {"precision": 0.9, "recall": 0.5, "f1": 0.643, "matched": 9, "missed": 9, "extra": 1}


def variant(infer_ms: float, **fields: object) -> VariantReport:
    return VariantReport(
        node="/x/detection",
        model="tiny",
        backend="onnxruntime",
        requested_provider="cuda",
        provider="CPUExecutionProvider",
        precision="fp32",
        received=10,
        processed=8,
        dropped_busy=1,
        failed=1,
        stages_ms={"infer": Percentiles(p50=infer_ms, p95=infer_ms, p99=infer_ms, max=infer_ms, count=8)},
        end_to_end_ms=Percentiles(p50=30.0, p95=31.0, p99=32.0, max=33.0, count=8),
        not_inference_share=0.25,
        **fields,  # type: ignore[arg-type]
    )


def report() -> Report:
    rejected = Verdict(status="rejected", reasons=["mAP falls by 0.25"])
    return Report(
        measurement=INTERLEAVING,
        source=Source(bag="/drives/sunny", topic="/camera", frames=10, duration_s=0.5, not_offered=3),
        tasks={
            "detection": TaskReport(
                baseline="baseline",
                variants={"int8": variant(10.0, verdict=rejected), "baseline": variant(20.0)},
                comparison={
                    "int8": ComparisonReport(
                        pairs=8,
                        speedup_infer_p50=2.0,
                        agreement=DetectionFigures(
                            mean_matched_iou=0.8, per_class={"car": ClassAgreement(**CAR)}, **CAR
                        ),
                    )
                },
            )
        },
        notes=["A note."],
        files=["latency.png", "overlay_detection_1.png"],
    )


def test_ratios_come_before_milliseconds() -> None:
    text = render_markdown(report())
    assert text.index("2.00x") < text.index("30.00")
    assert "| detection | int8 | 2.00x |" in text


def test_the_measurement_is_described() -> None:
    text = render_markdown(report())
    assert INTERLEAVING in text
    assert "10 frames of `/camera` over 0.5 s" in text
    assert "3 frames of the bag came due" in text


def test_a_rejected_variant_cannot_be_overlooked() -> None:
    text = render_markdown(report())
    assert "**detection/int8 was rejected by its accept gate** (mAP falls by 0.25)" in text


def test_the_baseline_stands_first_and_a_fallback_provider_is_named() -> None:
    text = render_markdown(report())
    latency = text[text.index("## Latency") :]
    assert latency.index("| detection | baseline |") < latency.index("| detection | int8 |")
    assert "CPUExecutionProvider (asked for cuda)" in text


def test_counters_account_for_every_frame_or_state_the_gap() -> None:
    counted = variant(1.0)
    assert (
        frame_counts_text(counted)
        == "10 received = 8 processed + 0 stale + 1 busy + 1 failed: all accounted for"
    )
    counted.received = 12
    assert "**2 unexplained**" in frame_counts_text(counted)


def test_images_are_linked_and_notes_listed() -> None:
    text = render_markdown(report())
    assert "(latency.png)" in text
    assert "(overlay_detection_1.png)" in text
    assert "stages.png" not in text
    assert "- A note." in text


def test_other_tasks_have_their_own_figures() -> None:
    both = report()
    both.tasks = {
        "segmentation": TaskReport(
            comparison={
                "int8": ComparisonReport(
                    agreement=SegmentationFigures(
                        miou=0.98, differing_pixels_share=0.0125, per_class_iou={"road": 0.99}
                    )
                )
            }
        ),
        "planning": TaskReport(
            comparison={
                "int8": ComparisonReport(
                    agreement=PlanningFigures(
                        ade_m=0.1, fde_m=0.2, max_fde_m=1, mean_lateral_offset_m=0, max_lateral_offset_m=0.75
                    )
                )
            }
        ),
    }
    text = render_markdown(both)
    assert "mIoU 0.9800, 1.25% of pixels differ" in text
    assert "lateral offset at most 0.75 m" in text


def test_a_live_report_shows_the_last_seconds_and_its_limits() -> None:
    """An agreement of 0.9 over the drive hides 0.2 over the last ten seconds."""
    text = render_markdown(comparison_report("live"))
    assert "| detection | int8 | 10s | 40 | 0.200 (0.100 to 0.300) | – | 19.5 | – | – | – | 25.0% |" in text
    assert "| detection | int8 | `min_agreement` | 0.95 | a parameter |" in text
    assert text.index("0.200 (0.100") < text.index("F1 0.900")
    assert "The last seconds" not in render_markdown(comparison_report())


def test_an_empty_report_is_still_a_page() -> None:
    text = render_markdown(Report())
    assert "nothing to compare" in text
    assert "None" not in text


def test_agreement_over_nothing_is_no_score() -> None:
    """Two detectors that find nothing agree at F1 1.0, two constant masks at mIoU 1.0."""
    nothing = DetectionFigures(mean_matched_iou=0.0, **NOTHING)
    constant = SegmentationFigures(miou=1.0, differing_pixels_share=0.0, per_class_iou={"road": 1.0})
    assert figures_text(nothing) == "no objects on either side: nothing to compare"
    assert figures_text(constant) == "only one label on either side (road): nothing to compare"
    assert figures_text(DetectionFigures(mean_matched_iou=0.8, **CAR)).startswith("F1 0.643")


def test_problems_stand_first_and_each_reason_once() -> None:
    text = "planning/int8: none of 4 frames was processed, the node gave nothing."
    variants = {
        name: VariantReport(sent=4, received=4, failed=4, reasons={"failed: no image": 4})
        for name in ("baseline", "int8")
    }
    source = Source(
        topic="/camera", frames=4, index=7, claimed=9, read=5, left_out=2, unreadable={"short": 1}
    )
    page = render_markdown(
        Report(
            source=source,
            problems=[text],
            tasks={"planning": TaskReport(baseline="baseline", variants=variants)},
        )
    )
    assert page.index(text) < page.index("## Compressed against baseline")
    assert page.count("failed: no image") == 1
    assert "8 x failed: no image (planning/baseline 4, planning/int8 4)" in page
    assert "7 messages in the index (9 by metadata.yaml): 5 read, 2 left out; of these 4 sent" in page
