"""Pictures of the people that face embeddings merged, to be checked by eye."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deepfake_detector.faces.archive import archive_path, read_crops

SHEETS = 20  # at most
PEOPLE = 10  # on a sheet
VIDEOS = 10  # of a person
FACE_PIXELS = 96  # pixels of a face
TITLE = 20  # pixels above the faces of a person


def draw_person_sheets(links: pd.DataFrame, tracks: list[tuple[str, list[str]]], faces: Path, report: Path) -> None:
    """Write people_00.jpg, ... to `report`: a row for each merged person, with one face from each video.

    The least certain merges come first.

    Args:
        links: rows `video_id,kind,token,distance` of the kind embedding; a token is a person.
        tracks: videos with the archive members of one person.
        faces: folder of the face archives.
        report: an existing folder.
    """
    member = {video: members[len(members) // 2] for video, members in reversed(tracks)}
    distance = links.groupby("token")["distance"].max().sort_values(ascending=False)
    pages = [distance.index[start : start + PEOPLE] for start in range(0, len(distance), PEOPLE)]
    for page, tokens in enumerate(pages[:SHEETS]):
        strips = []
        for token in tokens:
            videos = links.loc[links["token"] == token].sort_values("distance", ascending=False)["video_id"]
            title = f"{token}: {len(videos)} videos, nearest at up to {distance[token]:.2f}"
            crops = [read_crops(archive_path(faces, video), [member[video]])[0] for video in videos[:VIDEOS]]
            strips.append(_draw_strip(title, crops))
        cv2.imwrite(str(report / f"people_{page:02d}.jpg"), np.vstack(strips))


def _draw_strip(title: str, crops: list[np.ndarray]) -> np.ndarray:
    """Up to VIDEOS faces (uint8 BGR squares) side by side below a title.

    Returns uint8 BGR (TITLE + FACE_PIXELS, VIDEOS * FACE_PIXELS, 3).
    """
    strip = np.full((TITLE + FACE_PIXELS, FACE_PIXELS * VIDEOS, 3), 255, np.uint8)
    strip[TITLE:, : FACE_PIXELS * len(crops)] = np.hstack(
        [cv2.resize(crop, (FACE_PIXELS, FACE_PIXELS)) for crop in crops]
    )
    cv2.putText(strip, title, (4, TITLE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
