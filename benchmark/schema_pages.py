# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Documents of the benchmarks, for ad_compressed_perception/report/schema_docs.py."""

from __future__ import annotations

from ad_compressed_perception.report.schema_docs import Page
from benchmark.hot_path.results_document import HotPath
from benchmark.measurements_document import Measurements

PAGES = (
    Page(HotPath, "`make benchmark-hot-path` writes it as hot_path.json."),
    Page(Measurements, "`make benchmark` writes it as measurements.json."),
)
