# /// script
# dependencies = ["dlib-bin==20.0.1.post1", "numpy==2.4.6"]
# ///
"""The HOG detector of dlib at full size."""

import dlib
from timing import time_detector

detector = dlib.get_frontal_face_detector()
time_detector(lambda image: len(detector(image, 0)))
