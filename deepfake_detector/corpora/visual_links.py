"""What the faces themselves say about who and what belongs together, beyond the labels."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deepfake_detector.corpora.embeddings import EmbeddingError, embed_faces, similar_pairs
from deepfake_detector.corpora.near_duplicates import near_duplicates, perceptual_hash
from deepfake_detector.faces.archive import read_crops
from deepfake_detector.parallel_map import parallel_map
from stages.params import Params, fail

HASHED = 16  # faces of a person in a video of which hashes are taken
EMBEDDED = 4  # of these, faces whose mean embedding stands for the person
TOGETHER = 100  # people of videos in one task
SHEET = 10  # people on a sheet of pictures, each in up to as many videos
SHEETS = 20
COLUMNS = ["video_id", "kind", "token", "distance"]
TrackMembers = tuple[str, list[str]]  # a video and the members of its archive that show one person


def find_visual_links(labels: pd.DataFrame, params: Params, report: Path) -> pd.DataFrame | None:
    """Ties that the faces show, `video_id,kind,token,distance`, or None where there are no faces to look at.

    Kinds are `near_duplicate` and, if `split.identities` is faces, `embedding`. The token is the first of the videos that are
    tied, in the alphabet; `distance` is that to the nearest of them. Sheets of those merged by embedding go to `report`.
    """
    settings = params.split
    clips = read_tracks(labels, Path(params.data.index))
    if not clips:
        if settings.identities == "faces":
            fail(
                f"split.identities = faces: {params.data.index} has no face of these videos; run the extract stage first"
            )
        print(f"{params.data.index} has no face of these videos: near-duplicates were not looked for")
        return None
    chunks = [clips[start : start + TOGETHER] for start in range(0, len(clips), TOGETHER)]
    work = partial(
        hash_and_embed,
        folder=Path(params.data.faces),
        embedded=settings.identities == "faces",
        margin=params.extract.margin,
    )
    outcomes: list[tuple[list[np.ndarray], np.ndarray]] = [([], np.empty(0))] * len(chunks)
    for position, outcome in parallel_map(work, chunks, settings.workers, "look at faces", f"{TOGETHER} people"):
        if isinstance(outcome, EmbeddingError):
            fail(str(outcome))
        if isinstance(outcome, BaseException):
            name = chunks[position][0][0]
            fail(
                f"the archives of {name} and others in {params.data.faces} cannot be read ({outcome!r}); extract again"
            )
        outcomes[position] = outcome
    hashes = [clip for clips_of_chunk, _ in outcomes for clip in clips_of_chunk]
    videos = np.array([video for video, _ in clips])
    found = [join_pairs(near_duplicates(hashes, settings.near_duplicate), videos, "near_duplicate")]
    if settings.identities == "faces":
        pairs = similar_pairs(np.concatenate([embeddings for _, embeddings in outcomes]), settings.same_face)
        found.append(join_pairs(pairs, videos, "embedding"))
        draw_person_sheets(found[-1], clips, Path(params.data.faces), report)
    return pd.concat(found, ignore_index=True)


def read_tracks(labels: pd.DataFrame, index: Path) -> list[TrackMembers]:
    """Everybody in every video, in the order of the labels, with up to HASHED faces spread evenly over the video."""
    if not index.is_file():
        return []
    faces = pd.read_parquet(index, columns=["video_id", "track", "member"])
    faces = faces[faces["video_id"].isin(labels["video_id"])]
    clips = {key: members.tolist() for key, members in faces.groupby(["video_id", "track"])["member"]}
    order = {video: row for row, video in enumerate(labels["video_id"])}
    keys = sorted(clips, key=lambda key: (order[key[0]], key[1]))
    return [(video, evenly(clips[video, track], HASHED)) for video, track in keys]


def evenly(things: list[str], count: int) -> list[str]:
    return [things[i] for i in np.unique(np.linspace(0, len(things) - 1, count).round().astype(int))]


def hash_and_embed(
    clips: list[TrackMembers], folder: Path, embedded: bool, margin: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """Hashes of each clip, uint64 (faces, 4), and its mean embedding, float32 (clips, 128), or (clips, 0) if not asked for."""
    hashes, embeddings = [], []
    for video, members in clips:
        crops = read_crops(folder / f"{video}.zip", members)
        hashes.append(np.array([perceptual_hash(crop) for crop in crops]))
        few = [crops[i] for i in np.unique(np.linspace(0, len(crops) - 1, EMBEDDED).round().astype(int))]
        embeddings.append(embed_faces(few, margin).mean(axis=0) if embedded else np.empty(0, np.float32))
    return hashes, np.array(embeddings)


def join_pairs(pairs: pd.DataFrame, videos: np.ndarray, kind: str) -> pd.DataFrame:
    """Videos that `pairs` (`a,b,distance`: positions in `videos`) join, directly or through others, as rows of COLUMNS."""
    a, b = pairs["a"].to_numpy(int), pairs["b"].to_numpy(int)
    group = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(len(videos),) * 2), directed=False)[1]
    ends = pd.DataFrame({"position": np.concatenate([a, b]), "distance": np.tile(pairs["distance"].to_numpy(float), 2)})
    nearest = ends.groupby("position")["distance"].min()
    table = pd.DataFrame(
        {"video_id": videos[nearest.index], "kind": kind, "token": "", "distance": nearest.to_numpy().round(4)}
    )
    table["token"] = table["video_id"].groupby(group[nearest.index]).transform("min")
    return table.drop_duplicates(["video_id", "token"])[COLUMNS]


def draw_person_sheets(found: pd.DataFrame, clips: list[TrackMembers], folder: Path, report: Path) -> None:
    """Sheets people_00.jpg, ...: a row for each merged person, one face from each video; the least sure merges come first."""
    member = {video: members[len(members) // 2] for video, members in reversed(clips)}
    doubt = found.groupby("token")["distance"].max().sort_values(ascending=False)
    for page in range(min(SHEETS, -(-len(doubt) // SHEET))):
        rows = []
        for token in doubt.index[page * SHEET : (page + 1) * SHEET]:
            videos = found.loc[found["token"] == token].sort_values("distance", ascending=False)["video_id"][:SHEET]
            faces = [cv2.resize(read_crops(folder / f"{video}.zip", [member[video]])[0], (96, 96)) for video in videos]
            strip = np.full((116, 96 * SHEET, 3), 255, np.uint8)
            strip[20:, : 96 * len(faces)] = np.hstack(faces)
            words = f"{token}: {(found['token'] == token).sum()} videos, nearest at up to {doubt[token]:.2f}"
            cv2.putText(strip, words, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
            rows.append(strip)
        cv2.imwrite(str(report / f"people_{page:02d}.jpg"), np.vstack(rows))
