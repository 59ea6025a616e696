# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp watch`` shows of a monitor's summaries, and when it must not look fine."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ad_compressed_perception.report.schemas.agreement import DetectionFigures, SegmentationFigures
from ad_compressed_perception.report.schemas.comparison import Report, TaskReport
from ad_compressed_perception.report.schemas.fields import Percentiles
from ad_compressed_perception.report.schemas.pairs import (
    Alarm,
    ComparisonReport,
    ComparisonWindow,
    LimitsReport,
)
from ad_compressed_perception.report.schemas.variant import VariantReport, VariantWindow
from ad_compressed_perception.watch.table import draw, milliseconds, share, sparkline
from ad_compressed_perception.watch.view import History, Series, written_before_s
from support.json_schema import check_document


def detection(score: float, *, alarms: list[Alarm] | None = None, limit: float | None = 0.9) -> Report:
    """Return a summary of two detectors, the compressed one with a score in the last 10 s."""
    figures = DetectionFigures(
        precision=score, recall=score, f1=score, matched=90, missed=5, extra=5, mean_matched_iou=0.9
    )
    times = Percentiles(p50=30.0, p95=41.0, p99=52.0, max=60.0, count=200)

    def variant(name: str) -> VariantReport:
        window = VariantWindow(
            window_s=10.0, processed=200, rate_hz=20.0, drop_share=0.0004, infer_ms=times, end_to_end_ms=times
        )
        return VariantReport(node=f"/{name}/detection", model="road", variant=name, windows={"10s": window})

    # The whole run says the opposite: what is shown must be the window.
    whole = DetectionFigures(
        precision=1.0, recall=1.0, f1=1.0, matched=9, missed=0, extra=0, mean_matched_iou=0.9
    )
    compared = ComparisonReport(
        pairs=5000,
        agreement=whole,
        windows={"10s": ComparisonWindow(window_s=10, pairs=150, frames=200, score=score, agreement=figures)},
    )
    task = TaskReport(
        baseline="baseline",
        variants={name: variant(name) for name in ("baseline", "compressed")},
        comparison={"compressed": compared},
        limits={"compressed": LimitsReport(min_agreement=limit)},
        alarms=alarms or [],
    )
    return Report(tasks={"detection": task})


def alarm(level: str, sentence: str = "detection/compressed: F1 0.40 below 0.90") -> Alarm:
    return Alarm.model_validate(
        {
            "task": "detection",
            "variant": "compressed",
            "figure": "agreement",
            "level": level,
            "sentence": sentence,
        }
    )


def shown(history: History, now_s: float, *, width: int = 160, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, force_terminal=False)
    console.print(draw(history.view(now_s), console, clock="12:00:00"))
    stream.seek(0)
    return stream.read()


def history(*reports: Report, **options: float) -> History:
    """Return a history with a summary a second."""
    found = History("/latency_monitor", **options)  # type: ignore[arg-type]
    for second, report in enumerate(reports):
        found.add(report, float(second))
    return found


def test_a_row_has_the_figures_of_the_last_seconds() -> None:
    line = next(line for line in shown(history(detection(0.95)), 0.2).splitlines() if "compressed" in line)
    assert line.startswith("OK ")
    for text in ("20.0", "30.0", "52.0", "<0.1%", "F1 0.950", "150/200"):
        assert text in line
    assert "F1 1.000" not in line


@pytest.mark.parametrize(("level", "state"), [("WARN", "WARN"), ("ERROR", "ERROR"), ("OK", "LOW")])
def test_an_alarm_is_named_and_sets_the_state_until_it_ends(level: str, state: str) -> None:
    found = history(detection(0.4, alarms=[alarm(level)]))
    assert found.view(0.1).state == state
    text = shown(found, 0.1)
    assert ("F1 0.40 below 0.90" in text) == (level != "OK")
    assert ("1 problem" in text) == (level != "OK")


def test_old_figures_never_look_like_those_of_now() -> None:
    """Failed before for a view that redraws: the last figures stood there, green, with a running clock."""
    found = history(detection(0.95))
    assert found.view(4.9).state == "OK"
    assert found.view(5.1).state == "NO DATA"
    text = shown(found, 65.0)
    assert "no summary for 65 s" in text
    assert not any(line.startswith("OK") for line in text.splitlines())
    # A monitor that stopped an hour ago left its last summary for late subscribers.
    left = History("/latency_monitor")
    left.add(detection(0.95), 100.0, written_before_s=3600.0)
    assert left.view(100.1).state == "NO DATA"
    left.add(detection(0.95), 101.0)
    assert left.view(101.1).state == "OK"


def test_a_missing_node_is_an_error_without_an_alarm() -> None:
    report = detection(0.95)
    report.missing = ["detection: /compressed/detection silent for 3.2 s"]
    view = history(report).view(0.1)
    assert view.state == "ERROR"
    assert [row.level for row in view.rows] == ["OK", "ERROR"]
    assert "silent for 3.2 s" in shown(history(report), 0.1)


def test_an_agreement_that_nothing_limits_is_not_called_ok() -> None:
    """Failed before: F1 0.000 stood beside OK, since no limit was set that it could be below."""
    view = history(detection(0.0, limit=None)).view(0.1)
    assert view.state == "NO LIMIT"
    assert [row.level for row in view.rows] == ["OK", "NO LIMIT"]


def test_an_agreement_below_its_limit_is_not_called_ok_before_there_is_an_alarm() -> None:
    """Failed before: F1 0.795 stood beside OK at 2 frames a second, too few for the monitor's alarm."""
    view = history(detection(0.8)).view(0.1)
    assert (view.state, view.rows[1].level) == ("LOW", "LOW")
    assert history(detection(0.8, alarms=[alarm("WARN")])).view(0.1).rows[1].level == "WARN"


def test_the_agreement_shown_is_the_score_that_is_limited() -> None:
    """Failed before: "mIoU 0.838" beside OK, with a limit of 0.95 for the weighted mean, 0.978."""
    report = detection(0.978, limit=0.95)
    window = report.tasks["detection"].comparison["compressed"].windows["10s"]
    window.agreement = SegmentationFigures(miou=0.838, differing_pixels_share=0.009, per_class_iou={})
    assert history(report).view(0.1).rows[1].agreement == "wIoU 0.978"
    window.score = None  # one label only, on both sides
    window.agreement = SegmentationFigures(miou=1.0, differing_pixels_share=0.0, per_class_iou={})
    assert history(report).view(0.1).rows[1].agreement == "nothing seen"


def test_a_node_that_nothing_is_compared_with_is_not_called_a_baseline() -> None:
    """Failed before: the only node of perception.launch.py, a compressed one, was."""
    report = detection(0.978)
    del report.tasks["detection"].variants["compressed"]
    report.tasks["detection"].comparison.clear()
    assert history(report).view(0.1).rows[0].agreement == ""


def test_a_window_without_a_pair_shows_none() -> None:
    report = detection(0.95)
    empty = ComparisonWindow(window_s=10)
    report.tasks["detection"].comparison["compressed"].windows["10s"] = empty
    assert "no pair" in shown(history(report), 0.1)


def test_summaries_without_windows_are_shown_as_of_the_whole_run() -> None:
    report = detection(0.95)
    task = report.tasks["detection"]
    for variant in task.variants.values():
        variant.windows = {}
        variant.processed, variant.dropped_busy = 30, 10
    task.comparison["compressed"].windows = {}
    text = shown(history(report), 0.1)
    assert "whole run" in text
    assert "25.0%" in text
    assert "F1 1.000" in text


def test_the_drawing_shows_when_the_agreement_fell() -> None:
    """A summary a second for two minutes, one of them bad for 5 s: the worst of a span is drawn."""
    found = history(*(detection(0.2 if 60 <= second < 65 else 1.0) for second in range(120)))
    series = found.view(119.5).rows[1].score_series
    assert len(series.values) == 24
    assert series.values.count(0.2) in (1, 2)
    assert series.low == pytest.approx(0.8), "the limit of 0.9 lies in the middle"
    assert "▁" in sparkline(series)
    assert set(sparkline(series, ascii_only=True)) == {"_", "#"}


@given(
    st.lists(st.none() | st.floats(0, 1e6)),
    st.floats(-10, 10),
    st.floats(0.001, 100),
    st.booleans(),
)
def test_a_drawing_has_a_character_for_each_value(
    values: list[float | None], low: float, height: float, ascii_only: bool
) -> None:
    drawn = sparkline(Series(values=values, low=low, high=low + height), ascii_only=ascii_only)
    assert len(drawn) == len(values)
    assert all((one == " ") == (value is None) for one, value in zip(drawn, values, strict=True))


@pytest.mark.parametrize("width", [200, 120, 80, 60, 46])
def test_narrow_terminals_leave_columns_out_and_cut_no_number(width: int) -> None:
    text = shown(history(detection(0.4, alarms=[alarm("ERROR", "agreement fell")])), 0.1, width=width)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= width
    row = next(line for line in lines if "20.0" in line and "F1" in line)
    assert "F1 0.400" in row
    assert row.startswith("ERROR")
    assert any("agreement fell" in line for line in lines)


def test_a_terminal_without_unicode_and_color_shows_the_same() -> None:
    text = shown(history(*[detection(0.4, alarms=[alarm("ERROR")])] * 3), 2.1, encoding="ascii")
    assert text.isascii()
    assert "\x1b" not in text
    assert "ERROR" in text


def test_the_document_of_json_is_plain_json() -> None:
    read = json.loads(history(detection(0.4, alarms=[alarm("ERROR")])).view(0.1).to_json(indent=None))
    check_document(read, "adcp-watch/1")
    assert read["state"] == "ERROR"
    assert read["rows"][1]["end_to_end_ms"]["p99"] == 52.0
    assert read["alarms"][0]["figure"] == "agreement"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (8.04, "8.0"), (1234.5, "1234"), (3.1e11, ">1 h"), (-4e6, "<-1 h")],
)
def test_durations(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.0%"), (0.0004, "<0.1%"), (0.5, "50.0%")])
def test_shares(value: float | None, text: str) -> None:
    assert share(value) == text


def test_when_a_summary_was_written() -> None:
    report = Report(created="2026-01-01T00:00:00+00:00")
    assert written_before_s(report, 1_767_225_600.0 + 30.0) == 30.0
    assert written_before_s(report, 1_767_225_600.0 - 30.0) == 0.0, "a clock that is ahead"
    assert written_before_s(Report(), 1_767_225_600.0) == 0.0


HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eint8\nOK    detection compressed"


def test_names_and_sentences_of_others_write_nothing_but_their_text_to_the_terminal() -> None:
    """Failed before: a variant's name could clear the screen, and a sentence add a row that says OK."""
    raised = alarm("ERROR", HOSTILE)
    raised.variant = HOSTILE
    report = detection(0.95, alarms=[raised])
    report.missing = [HOSTILE + " silent"]
    task = report.tasks["detection"]
    task.variants["compressed"].variant = HOSTILE
    for found in (task.variants, task.comparison, task.limits):
        found[HOSTILE] = found.pop("compressed")  # type: ignore[index, attr-defined]
    text = shown(history(report), 0.1, width=400)
    assert not [one for one in text if one != "\n" and (ord(one) < 32 or 127 <= ord(one) < 160)]
    assert "\u202e" not in text
    # The baseline's row, and none that a line break in a name or sentence began.
    assert [line.split()[2] for line in text.splitlines() if line.startswith("OK")] == ["baseline"]


def not_reported(report: Report) -> None:
    for variant in report.tasks["detection"].variants.values():
        variant.model, variant.windows = None, {}
    report.tasks["detection"].comparison["compressed"] = ComparisonReport()


def no_pair_yet(report: Report) -> None:
    windows = {"10s": ComparisonWindow(window_s=10)}
    report.tasks["detection"].comparison["compressed"] = ComparisonReport(windows=windows)


def no_object(report: Report) -> None:
    report.tasks["detection"].comparison["compressed"].windows["10s"].score = None


def doubted(report: Report) -> None:
    report.problems = ["/compressed/detection/timing has 2 publishers"]


@pytest.mark.parametrize(
    ("change", "state"),
    [(not_reported, "NO RESULT"), (no_pair_yet, "NO RESULT"), (no_object, "NO SCORE"), (doubted, "ERROR")],
)
def test_what_is_not_known_is_not_called_ok(change: Callable[[Report], None], state: str) -> None:
    """Failed before: each of them was OK, and ``--once`` in the first seconds of a monitor gave 0."""
    report = detection(0.95)
    change(report)
    assert history(report).view(0.1).state == state


def test_a_limit_of_0_limits_nothing() -> None:
    assert history(detection(0.0, limit=0.0)).view(0.1).state == "NO LIMIT"
