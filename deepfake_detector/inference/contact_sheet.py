"""All scored faces of a video side by side, each with its time and its score."""

from pathlib import Path

import cv2
import numpy as np

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.inference.overlay import COLOURS, DARK, WHITE, put_text
from deepfake_detector.inference.prediction import PersonPrediction, Prediction
from deepfake_detector.inference.task import verdict_text

CELL, COLUMNS, GAP, LINE = 144, 6, 6, 24  # pixels, faces in a row, pixels between them, pixels of a line of text


def draw_contact_sheet(path: Path, judgement: Prediction, calibration: Calibration) -> None:
    """Write a PNG, whatever the suffix: a block for each person, the deciding one first, faces in order of time."""
    sheet = np.vstack([_block(person, calibration) for person in judgement.people])
    path.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _block(person: PersonPrediction, calibration: Calibration) -> np.ndarray:
    rows = -(-len(person.faces) // COLUMNS)
    step, tall = CELL + GAP, CELL + LINE + GAP
    block = np.full((LINE * 2 + rows * tall, COLUMNS * step + GAP, 3), DARK, np.uint8)
    put_text(
        block,
        f"Person {person.track + 1}: {verdict_text(person.verdict, person.probability)}",
        GAP,
        round(LINE * 1.3),
        20,
        WHITE,
    )
    for i, (face, logit) in enumerate(zip(person.faces, person.logits, strict=True)):
        x, y = GAP + i % COLUMNS * step, LINE * 2 + i // COLUMNS * tall
        probability = float(calibration.probability(logit))
        block[y : y + CELL, x : x + CELL] = cv2.resize(face.crop, (CELL, CELL), interpolation=cv2.INTER_AREA)
        cv2.rectangle(block, (x, y), (x + CELL, y + CELL + LINE), COLOURS[str(calibration.verdict(probability))], 3)
        put_text(block, f"{face.time:.1f} s: {probability:.0%} fake", x + 8, y + CELL + LINE - 8, 14, WHITE)
    return block
