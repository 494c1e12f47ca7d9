# /// script
# dependencies = ["facenet-pytorch==2.6.0", "opencv-python==5.0.0.93"]
# [tool.uv]
# override-dependencies = ["torch==2.15.0", "torchvision==0.29.2", "numpy==2.4.6", "pillow==13.0.0"]
# ///
"""The usual script: decode with OpenCV, MTCNN on every sampled frame at full size, ResNet-18 in float32, one at a time.

It prints, as JSON, the clock and processor seconds for each video on the command line, and how many frames had a face.
The weights of ResNet-18 are random: they do not change its time.
"""

import json
import os
import sys
import time

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from torchvision.models import resnet18

FRAMES, SIZE, MARGIN = 16, 224, 0.3
mtcnn = MTCNN(keep_all=True, device="cpu")
model = resnet18(num_classes=1).eval()


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The square around a box, widened by MARGIN on each side."""
    center, half = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2]) * (0.5 + MARGIN)
    (left, top), (right, bottom) = np.maximum(center - half, 0).astype(int), (center + half).astype(int)
    return cv2.resize(image[top:bottom, left:right], (SIZE, SIZE))


@torch.no_grad()
def judge(path: str) -> int:
    """Score the faces of a video; the number of frames that show one."""
    video = cv2.VideoCapture(path)
    wanted = set(np.linspace(0, video.get(cv2.CAP_PROP_FRAME_COUNT) - 1, FRAMES).astype(int).tolist())
    scores: list[float] = []
    frames = number = 0
    while number <= max(wanted):
        read, image = video.read()
        if not read:
            break
        if number in wanted:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            boxes = mtcnn.detect(image)[0]
            for box in [] if boxes is None else boxes:
                face = torch.from_numpy(crop(image, box)).permute(2, 0, 1)[None].float() / 255
                scores.append(torch.sigmoid(model(face)).item())
            frames += boxes is not None
        number += 1
    return frames


judge(sys.argv[1])  # not counted
costs = []
for path in sys.argv[1:]:
    clock, processor = time.perf_counter(), os.times()
    found = judge(path)
    after = os.times()
    costs.append([time.perf_counter() - clock, sum(after[:4]) - sum(processor[:4]), found])
print(json.dumps(costs))
