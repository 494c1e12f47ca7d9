"""The face index joined with the labels CSV and the splits CSV: each face with its label and partition."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.corpora.text_table import raise_problems, read_table, read_text, require_columns, whole_numbers
from deepfake_detector.faces.extraction import INDEX_COLUMNS, FaceIndexError
from deepfake_detector.files import file_sha256

if TYPE_CHECKING:
    from pyarrow import Table
    from pyarrow.parquet import FileMetaData

VISUAL_LINKS = "visual_links.csv"  # in the folder of the split report
NEEDED = ("video_id", "track", "frame", "time", "member")  # columns of a face index without which nothing works
TEXTS = ("video_id", "member", "original")  # columns of a face index that are not numbers
MAX_TEXT = 1000  # bytes of one of them
COMPRESSIONS = {"SNAPPY", "UNCOMPRESSED"}  # Snappy unpacks no byte to more than about 20
MAX_EXPANSION = 100  # unpacked bytes for each byte of a face index; detections hardly compress


def load_face_table(index: Path | str, labels: Path | str, videos: Path | str, splits: Path | str) -> pd.DataFrame:
    """One row for each face, in the order of the index, with all columns of the index and of both CSV files.

    Text of the CSV files is categorical: it is in memory once, not once for each face of a video.

    Args:
        index: the face index, a Parquet file.
        labels: the labels CSV.
        videos: folder that relative file paths in the labels CSV start from.
        splits: the splits CSV.

    Raises LabelsError if a table is missing or not valid, or the tables do not belong together; FaceIndexError if the
    index is not valid.
    """
    label_table = read_labels(labels, videos)
    faces = read_index(index)
    split_table = read_splits(splits)
    known = set(label_table["video_id"]) & set(split_table["video_id"])
    unknown = sorted(set(faces["video_id"]) - known)
    if unknown:
        raise LabelsError(
            f"{index} has faces of {len(unknown)} videos that {labels} or {splits} does not list, such as "
            f"{unknown[0]}; run extract and split again"
        )
    check_same_videos(label_table, split_table, labels, splits)
    own = [name for name in ("partition", "group", "fold") if name in label_table]  # columns that the splits CSV sets
    listed = label_table.drop(columns=own).merge(split_table, on="video_id")
    text = listed.columns[listed.dtypes.map(pd.api.types.is_string_dtype)].drop("video_id")
    return faces.merge(listed.astype(dict.fromkeys(text, "category")), on="video_id", how="left")


def videos_of(faces: pd.DataFrame) -> pd.DataFrame:
    """A row for each video of a face table, with its text as such, so that columns can be compared with each other."""
    videos = faces.drop_duplicates("video_id")
    return videos.astype(dict.fromkeys(videos.select_dtypes("category"), "str"))


def check_same_videos(
    labels: pd.DataFrame, split_table: pd.DataFrame, labels_path: Path | str, splits_path: Path | str
) -> None:
    """Raises LabelsError unless the labels and the splits are of the same videos."""
    foreign = split_table.index[~split_table["video_id"].isin(labels["video_id"])]
    names = split_table["video_id"]
    raise_problems([(row, f"{names[row]!r} is not in {labels_path}") for row in foreign], Path(splits_path))
    lost = labels.loc[~labels["video_id"].isin(names), "video_id"]
    if len(lost):
        raise LabelsError(
            f"{splits_path} lacks {len(lost)} videos of {labels_path}, such as {lost.iloc[0]}; "
            "run the split stage again"
        )


def read_splits(path: Path | str, numbers: Sequence[str] = ("group", "fold")) -> pd.DataFrame:
    """The splits CSV: `video_id,partition` as text, `numbers` as int. Raises LabelsError."""
    table = read_table(path, ["video_id", "partition", *numbers], "run the split stage first")
    known = (*PARTITIONS, "excluded")
    partition = table["partition"]
    problems = [
        (row, f"partition {partition[row]!r} is none of {', '.join(known)}")
        for row in table.index[~partition.isin(known)]
    ]
    for column in numbers:
        problems += whole_numbers(table, column)
    raise_problems(problems, Path(path))
    return table.astype(dict.fromkeys(numbers, int))


def read_index(path: Path | str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A face index, or only `columns` of it, in its order.

    Raises:
        LabelsError: if there is no such file.
        FaceIndexError: if it is no face index, or a row cannot be right.
    """
    from pyarrow import ArrowException, parquet

    if not Path(path).is_file():
        raise LabelsError(f"{path} does not exist; run the extract stage first")
    advice = "run the extract stage again"
    try:
        metadata = parquet.read_metadata(path)
        leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        texts = [name for name in TEXTS if name in leaves]
        with parquet.ParquetFile(path, metadata=metadata, read_dictionary=texts) as file:
            names = file.schema_arrow.names
            if missing := sorted(set(columns or NEEDED) - set(names)):
                raise FaceIndexError(f"{path} has no column {', '.join(missing)}; {advice}")
            if repeated := sorted(name for name in set(names) if names.count(name) > 1):
                raise FaceIndexError(f"{path} has the column {repeated[0]} twice; {advice}")
            _check_memory(metadata, Path(path))
            table = file.read([name for name in columns or INDEX_COLUMNS if name in names])
            faces: pd.DataFrame = _with_plain_texts(table, Path(path)).to_pandas()
    except (OSError, ValueError, ArrowException) as error:
        reason = " ".join(str(error).split())
        raise FaceIndexError(f"{path} is no face index ({reason}); {advice}") from error
    for problem, rows in _index_problems(faces):
        if rows.any():
            raise FaceIndexError(f"{path}, row {int(np.argmax(rows)) + 1}: {problem}; {advice}")
    return faces


def _check_memory(metadata: "FileMetaData", path: Path) -> None:
    """Raises FaceIndexError for a small file that becomes a large table, as no index of faces does.

    What the file says of sizes need not be true, so that compression which could unpack to much more is refused, too.
    """
    size = path.stat().st_size
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if metadata.num_rows > size or unpacked > MAX_EXPANSION * size + 2**20:
        raise FaceIndexError(f"{path} has {size:,} bytes and unpacks to {metadata.num_rows:,} rows; no index does that")
    chunks = [
        metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(metadata.num_columns)
    ]
    if odd := sorted({chunk.compression for chunk in chunks} - COMPRESSIONS):
        raise FaceIndexError(f"{path} is compressed by {odd[0]}, and a face index by {' or '.join(COMPRESSIONS)}")


def _with_plain_texts(table: "Table", path: Path) -> "Table":
    """The table with texts in place of dictionaries. Raises FaceIndexError before a long text is repeated."""
    import pyarrow as pa
    from pyarrow import compute

    for i, name in enumerate(table.column_names):
        column = table.column(i)
        if not pa.types.is_dictionary(column.type):
            continue
        lengths = [compute.max(compute.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks]
        if max(lengths, default=0) > MAX_TEXT:
            raise FaceIndexError(f"{path} has a {name} of {max(lengths):,} bytes; at most {MAX_TEXT:,} are allowed")
        table = table.set_column(i, name, column.cast(pa.string()))
    return table


def _index_problems(faces: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """What may be wrong with the rows of an index, and which rows have it, bool (n,)."""
    for name, values in faces.items():
        if name in TEXTS:
            if not pd.api.types.is_string_dtype(values):
                yield f"{name} is no text", np.ones(len(faces), bool)
            yield f"{name} is missing", (values.isna() | ((values == "") & (name != "original"))).to_numpy(bool)
        elif not pd.api.types.is_numeric_dtype(values):
            yield f"{name} is no number", np.ones(len(faces), bool)
        else:
            yield f"{name} is no finite number", ~np.isfinite(values.to_numpy(float, na_value=np.nan))
        if name in ("track", "frame"):
            yield f"{name} is no whole number from 0", (values.to_numpy(float) < 0) | (values.to_numpy(float) % 1 != 0)
    for low, high in (("x1", "x2"), ("y1", "y2")):
        if low in faces and high in faces:
            yield f"{high} is below {low}", (faces[high] < faces[low]).to_numpy(bool)
    for keys in (["video_id", "member"], ["video_id", "track", "frame"]):
        if set(keys) <= set(faces):
            yield f"{' and '.join(keys)} are those of an earlier row", faces.duplicated(keys).to_numpy(bool)


def read_visual_links(folder: Path | str) -> pd.DataFrame:
    """Links that the split stage found in the faces, as rows `video_id,kind,token` of text.

    `folder` is that of the split report. Empty if it holds none.
    """
    path, columns = Path(folder) / VISUAL_LINKS, ["video_id", "kind", "token"]
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    table = read_text(path, "")
    require_columns(table, columns, path)
    return table


def corpus_fingerprint(labels: Path | str, index: Path | str, splits: Path | str) -> str:
    """SHA-256 over three files as 64 hexadecimal digits. Two trainings with one fingerprint used the same data."""
    digests = (bytes.fromhex(file_sha256(path)) for path in (labels, index, splits))
    return hashlib.sha256(b"".join(digests)).hexdigest()
