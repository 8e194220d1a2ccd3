"""What cibuildwheel runs in each wheel's own environment: its engine mattes a picture.

python tests/smoke.py
"""

from __future__ import annotations

import cv2
import numpy as np

from matter_sdk import Matter


def main() -> None:
    """Raise unless a drawn frame gets a matte."""
    frame = np.full((360, 640, 3), 60, np.uint8)
    cv2.circle(frame, (320, 180), 90, (90, 140, 220), cv2.FILLED)
    with Matter() as matter:
        cutout = matter(frame).cutout()
        print(matter.runtime)
    if cutout.shape != (360, 640, 4):
        raise SystemExit(f"the cut-out is {cutout.shape}, expected (360, 640, 4)")


if __name__ == "__main__":
    main()
