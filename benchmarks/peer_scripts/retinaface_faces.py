# /// script
# dependencies = ["retinaface-pytorch==0.0.7", "torch==2.15.0", "torchvision==0.29.2", "numpy==2.4.6"]
# ///
"""retinaface-pytorch at a long side of 640 pixels, on one thread. Random weights: its time does not depend on them."""

import torch
from retinaface.predict_single import Model
from timing import time_detector

torch.set_num_threads(1)
model = Model(max_size=640)
model.eval()
time_detector(lambda image: len(model.predict_jsons(image)[0]["bbox"]))
