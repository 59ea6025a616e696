# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ``adcp`` command, one file a verb."""

PLUGINS = {
    "replay": "ad_compressed_perception.cli.replay:replay",
    "watch": "ad_compressed_perception.cli.watch:watch",
    "compress": "ad_compressed_perception.cli.compress:compress",
    "search": "ad_compressed_perception.cli.search:search",
    "evaluate": "ad_compressed_perception.cli.evaluate:evaluate",
    "benchmark": "ad_compressed_perception.cli.benchmark:benchmark",
    "parity": "ad_compressed_perception.cli.parity:parity",
    "inspect": "ad_compressed_perception.cli.inspect:inspect",
    "report": "ad_compressed_perception.cli.report:report",
    "train": "ad_compressed_perception.cli.train:train",
    "backends": "ad_compressed_perception.cli.backends:backends",
    "sign": "ad_compressed_perception.cli.sign:sign",
    "verify-signature": "ad_compressed_perception.cli.sign:verify_signature",
    "join": "ad_compressed_perception.cli.join:join",
    "check": "ad_compressed_perception.cli.check:check",
    "export": "ad_compressed_perception.cli.export:export",
    "verdict": "ad_compressed_perception.cli.verdict:verdict",
    "import": "ad_compressed_perception.cli.import_model:import_model",
}
