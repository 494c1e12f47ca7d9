# /// script
# dependencies = ["facenet-pytorch==2.6.0"]
# [tool.uv]
# override-dependencies = ["torch==2.15.0", "torchvision==0.29.2", "numpy==2.4.6", "pillow==13.0.0"]
# ///
"""MTCNN of facenet-pytorch at full size, on one thread. Its own pins (torch below 2.3) fit no current Python."""

import torch
from facenet_pytorch import MTCNN
from timing import time_detector

torch.set_num_threads(1)
mtcnn = MTCNN(keep_all=True, device="cpu")


def detect(image: object) -> int:
    boxes = mtcnn.detect(image)[0]
    return 0 if boxes is None else len(boxes)


time_detector(detect)
