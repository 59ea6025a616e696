# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Any exception of a runtime becomes one line that a message on /diagnostics can hold."""

from __future__ import annotations

import pytest

from ad_compressed_perception.core.one_line import describe_error, one_line


class UnprintableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        # Failed before: the frame was neither failed nor processed, and waited for to the end.
        (UnprintableError(), "UnprintableError"),
        # Failed before: the status could not be published, since no ROS string holds these.
        (OSError("no file \udcff.onnx"), "OSError: no file ?.onnx"),
        (ValueError("a\0b"), "ValueError: a b"),
    ],
)
def test_an_error_becomes_a_line_that_can_be_published(error: Exception, line: str) -> None:
    assert describe_error(error) == line
    line.encode()


def test_a_text_of_others_has_no_escape_sequences_for_the_terminal_that_shows_a_log() -> None:
    assert one_line("label '\x1b[2Jcar\x9b31m' is\tnot\x07 known") == "label ' [2Jcar 31m' is not known"
