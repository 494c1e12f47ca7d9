"""Links between videos that their faces show and the labels do not name: near-duplicates, and people who look alike."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deepfake_detector.corpora.embeddings import DIMENSIONS, EmbeddingError, embed_faces, similar_pairs
from deepfake_detector.corpora.face_table import read_index
from deepfake_detector.corpora.near_duplicates import near_duplicates, perceptual_hash
from deepfake_detector.corpora.person_sheets import draw_person_sheets
from deepfake_detector.faces.archive import ArchiveError, archive_path, read_crops
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.parallel_map import parallel_map

HASHED_FACES = 16  # faces of a person in a video that are hashed
EMBEDDED_FACES = 4  # of the hashed faces, those whose mean embedding stands for the person
CHUNK = 100  # tracks in one task of a worker process
VISUAL_LINK_COLUMNS = ["video_id", "kind", "token", "distance"]
TrackMembers = tuple[str, list[str]]  # a video, and the members of its archive that show one person


class VisualLinksError(Exception):
    """The faces cannot be compared. The message says why, and what would help."""


def find_visual_links(
    labels: pd.DataFrame,
    *,
    index: Path | str,
    faces: Path | str,
    near_duplicate: float,
    same_face: float | None,
    margin: float,
    workers: int,
    report: Path,
) -> pd.DataFrame | None:
    """Links that the faces show, as rows `video_id,kind,token,distance`; None if the index has no face of these videos.

    Kinds are `near_duplicate` and `embedding`. The token is the alphabetically first of the linked videos; `distance`
    is that to the nearest of them.

    Args:
        labels: the labels table; only its column `video_id` is used.
        index: the face index, a Parquet file.
        faces: folder of the face archives.
        near_duplicate: largest distance of the perceptual hashes of copies, a fraction of the bits, 0-1.
        same_face: distance of face embeddings below which two faces are one person; None: no embeddings.
        margin: that of the stored crops, in face widths.
        workers: processes; 0: one for each core.
        report: existing folder for pictures of the people that embeddings merged.

    Raises VisualLinksError if an archive cannot be read or the packages for embeddings are missing.
    """
    tracks = read_tracks(labels, Path(index))
    if not tracks:
        return None
    hashes, embeddings = _describe_tracks(tracks, Path(faces), same_face is not None, margin, workers)
    videos = np.array([video for video, _ in tracks])
    found = [join_pairs(near_duplicates(hashes, near_duplicate), videos, "near_duplicate")]
    if same_face is not None:
        found.append(join_pairs(similar_pairs(embeddings, same_face), videos, "embedding"))
        draw_person_sheets(found[-1], tracks, Path(faces), report)
    return pd.concat(found, ignore_index=True)


def read_tracks(labels: pd.DataFrame, index: Path) -> list[TrackMembers]:
    """Every person in every video, in the order of the labels, with up to HASHED_FACES faces, evenly spread."""
    faces = read_index(index, ["video_id", "track", "member"])
    faces = faces[faces["video_id"].isin(labels["video_id"])]
    tracks = {key: members.tolist() for key, members in faces.groupby(["video_id", "track"])["member"]}
    order = {video: row for row, video in enumerate(labels["video_id"])}
    keys = sorted(tracks, key=lambda key: (order[key[0]], key[1]))
    return [(key[0], [tracks[key][i] for i in evenly_spread(len(tracks[key]), HASHED_FACES)]) for key in keys]


def _describe_tracks(
    tracks: list[TrackMembers], faces: Path, embedded: bool, margin: float, workers: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Hashes and embeddings of all tracks, as `hash_and_embed` returns them, from worker processes."""
    chunks = [tracks[start : start + CHUNK] for start in range(0, len(tracks), CHUNK)]
    work = partial(hash_and_embed, folder=faces, embedded=embedded, margin=margin)
    outcomes: dict[int, tuple[list[np.ndarray], np.ndarray]] = {}
    for position, outcome in parallel_map(work, chunks, workers, "compare faces", f"{CHUNK} people"):
        if isinstance(outcome, (EmbeddingError, ArchiveError)):
            raise VisualLinksError(str(outcome))
        if isinstance(outcome, BaseException):
            raise VisualLinksError(
                f"the archives of {chunks[position][0][0]} and others in {faces} cannot be read ({outcome!r}); "
                "run the extract stage again"
            )
        outcomes[position] = outcome
    ordered = [outcomes[position] for position in range(len(chunks))]
    return [track for hashes, _ in ordered for track in hashes], np.concatenate([vectors for _, vectors in ordered])


def hash_and_embed(
    tracks: list[TrackMembers], folder: Path, embedded: bool, margin: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """Hashes of the faces of each track, uint64 (faces, 4), and mean embeddings, float32 (tracks, 128).

    Embeddings are zeros if not `embedded`.
    """
    hashes = []
    embeddings = np.zeros((len(tracks), DIMENSIONS), np.float32)
    for row, (video, members) in enumerate(tracks):
        crops = read_crops(archive_path(folder, video), members)
        hashes.append(np.array([perceptual_hash(crop) for crop in crops]))
        if embedded:
            few = [crops[i] for i in evenly_spread(len(crops), EMBEDDED_FACES)]
            embeddings[row] = embed_faces(few, margin).mean(axis=0)
    return hashes, embeddings


def join_pairs(pairs: pd.DataFrame, videos: np.ndarray, kind: str) -> pd.DataFrame:
    """Videos that `pairs` link, directly or through others, as rows of VISUAL_LINK_COLUMNS.

    `pairs`: rows `a,b,distance`, where a and b are positions in `videos`, the video ids of the tracks.
    """
    a, b = pairs["a"].to_numpy(int), pairs["b"].to_numpy(int)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(len(videos),) * 2)
    group = connected_components(graph, directed=False)[1]
    ends = pd.DataFrame({"position": np.concatenate([a, b]), "distance": np.tile(pairs["distance"].to_numpy(float), 2)})
    nearest = ends.groupby("position")["distance"].min()
    columns = {"video_id": videos[nearest.index], "kind": kind, "token": "", "distance": nearest.to_numpy().round(4)}
    table = pd.DataFrame(columns)
    table["token"] = table["video_id"].groupby(group[nearest.index]).transform("min")
    return table.drop_duplicates(["video_id", "token"])[VISUAL_LINK_COLUMNS]
