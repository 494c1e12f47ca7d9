"""Deepfake detection in video: corpora, faces, training, evaluation and inference.

The library takes plain arguments. It never exits the program and never prints; it logs and shows progress bars.
"""

import os

# Idle OpenMP threads wait in sleep, not in a busy loop. On shared processors a busy loop makes a training step five
# times slower. OpenMP reads this when torch is loaded, so it must be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
