# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of detection heads give the boxes of the networks' own code."""

from __future__ import annotations

import numpy as np
import pytest

from support.detectors import decoder_task, specs
from support.head_references import CASES, CLASSES, HEIGHT, THRESHOLD, WIDTH


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_boxes_are_those_of_the_networks_own_code(name: str, seed: int) -> None:
    kind, options, outputs, expected = CASES[name](np.random.default_rng(seed))
    decoder = decoder_task(kind, CLASSES, WIDTH, HEIGHT, **options).decoder
    decoder.check(specs(outputs))

    boxes, scores, class_ids = decoder.candidates(outputs, THRESHOLD)

    assert len(expected) > 2
    # The order of candidates is free: by class and score, which are continuous here.
    reference = np.array(sorted(expected, key=lambda one: (one[5], one[4])))
    order = np.lexsort((scores, class_ids))
    assert class_ids[order].tolist() == reference[:, 5].astype(int).tolist()
    np.testing.assert_allclose(scores[order], reference[:, 4], atol=1e-5)
    np.testing.assert_allclose(boxes[order], reference[:, :4], atol=1e-3)
    assert (boxes.dtype, scores.dtype, class_ids.dtype) == (np.float32, np.float32, np.int64)
