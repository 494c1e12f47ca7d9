"""The scored faces of a video side by side, each with its time and its fake probability."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.inference.drawing import DARK, VERDICT_COLORS, WHITE, fit_text_size, put_text
from deepfake_detector.inference.prediction import PersonPrediction, Prediction, thresholds
from deepfake_detector.inference.prediction_task import verdict_text

FACE_SIZE = 144  # pixels
GAP = 6  # pixels between faces
LINE_HEIGHT = 24  # pixels of a line of text
FACES_IN_ROW = 6  # faces in a row
MAX_ROWS = 120  # browsers show no picture that is much higher than these


def draw_contact_sheet(target: Path, prediction: Prediction, calibration: Calibration) -> None:
    """Write a PNG, whatever the suffix: a block for each person, the most suspicious first, faces in order of time.

    Faces beyond MAX_ROWS are left out; a last line says how many.
    """
    blocks, rows, left_out = [], MAX_ROWS, prediction.faces
    for person in prediction.people:
        count = min(len(person.faces), rows * FACES_IN_ROW)
        if count:
            part = replace(person, faces=person.faces[:count], logits=person.logits[:count])
            blocks.append(_person_block(part, calibration))
        rows -= -(-count // FACES_IN_ROW)
        left_out -= count
    if left_out:
        line = np.full((LINE_HEIGHT * 2, blocks[0].shape[1], 3), DARK, np.uint8)
        put_text(line, f"{left_out} more faces were scored", GAP, round(LINE_HEIGHT * 1.3), 20, WHITE)
        blocks.append(line)
    target.write_bytes(cv2.imencode(".png", np.vstack(blocks))[1].tobytes())


def _person_block(person: PersonPrediction, calibration: Calibration) -> np.ndarray:
    rows = -(-len(person.faces) // FACES_IN_ROW)
    column_width, row_height = FACE_SIZE + GAP, FACE_SIZE + LINE_HEIGHT + GAP
    block = np.full((LINE_HEIGHT * 2 + rows * row_height, FACES_IN_ROW * column_width + GAP, 3), DARK, np.uint8)
    verdict = verdict_text(person.verdict, person.probability, thresholds(calibration))
    put_text(block, f"Person {person.track + 1}: {verdict}", GAP, round(LINE_HEIGHT * 1.3), 20, WHITE)
    for i, (face, logit) in enumerate(zip(person.faces, person.logits, strict=True)):
        x, y = GAP + i % FACES_IN_ROW * column_width, LINE_HEIGHT * 2 + i // FACES_IN_ROW * row_height
        probability = float(calibration.face_probability(logit))
        color = VERDICT_COLORS[str(calibration.verdict(probability))]
        crop = cv2.resize(face.crop, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
        block[y : y + FACE_SIZE, x : x + FACE_SIZE] = crop
        cv2.rectangle(block, (x, y), (x + FACE_SIZE, y + FACE_SIZE + LINE_HEIGHT), color, 3)
        text = f"{face.time:.1f} s: score {probability:.2f}"
        size = fit_text_size(text, 14, FACE_SIZE - 16)
        put_text(block, text, x + 8, y + FACE_SIZE + LINE_HEIGHT - 8, size, WHITE)
    return block
