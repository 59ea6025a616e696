# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A replay says which frames others than the variant answered."""

from __future__ import annotations

import pytest

from ad_compressed_perception.replay.account import answer_problems
from ad_compressed_perception.report.schemas.latency import AnswerAccount
from ad_compressed_perception.report.schemas.variant import VariantReport


def account(level: str, variant: str, processed: int, *, is_current: bool = False) -> AnswerAccount:
    return AnswerAccount(
        level=level, model="tiny", variant=variant, processed=processed, is_current=is_current
    )


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], []),
        ([account("standby", "fp32", 3)], ["3 of 13 results are not of the variant, but of the level sta"]),
        ([account("hold", "int8", 2)], ["2 of 12 results are not of the variant, but of the level hold"]),
        ([account("primary", "int4", 5)], ["5 of 15 results are not of the variant, but of the level pri"]),
    ],
)
def test_what_a_fallback_or_another_variant_answered_is_a_problem(
    others: list[AnswerAccount], expected: list[str]
) -> None:
    """Failed before: a replay whose frames the standby answered gave its times as the variant's."""
    variant = VariantReport(accounts=[*others, account("primary", "int8", 10, is_current=True)])
    found = list(answer_problems("detection/int8", variant))
    assert len(found) == len(expected)
    assert all(text in line for text, line in zip(expected, found, strict=True))
