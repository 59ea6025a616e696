# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Documents of the simulation, for ad_compressed_perception/report/schema_docs.py."""

from __future__ import annotations

from ad_compressed_perception.report.schema_docs import Page
from ad_road_simulation.closed_loop.drive_schema import Drive, MeasuredLatencies
from ad_road_simulation.demo.report_folder import DemoFiles

PAGES = (
    Page(Drive, "`adcp drive` writes it as report.json, and prints it with `--json`."),
    Page(MeasuredLatencies, "`adcp drive` writes it as latency.json, for the next run in the folder."),
    Page(DemoFiles, "`adcp demo` writes it as demo.json, to find the files of an earlier run."),
)
