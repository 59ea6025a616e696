# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Run a detector on image files: find_objects.py MODEL IMAGE..."""

from __future__ import annotations

import sys

import cv2

import ad_compressed_perception as adcp


def main(model_folder: str, *files: str) -> int:
    """Print the objects of every image; return 1 where something is wrong with model or image."""
    try:
        # The compressed variant that its accept gate accepted and whose runtime is installed here.
        with adcp.load(model_folder, variant="accepted") as model:
            for file in files:
                found = model(cv2.imread(file))
                if not isinstance(found, adcp.Detections):
                    raise adcp.AdcpError(f"{model.name} is for {model.task}, not for detection")
                for box, score, kind in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True):
                    left, top, right, bottom = (round(float(edge)) for edge in box)
                    print(f"{file}: {found.labels[kind]} {score:.2f} at {left},{top} to {right},{bottom}")
    except adcp.AdcpError as error:  # one line, for the user
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 2 else __doc__)
