"""Any folder with real/ and fake/ in it. A folder inside fake/ names the method."""

from pathlib import Path

from deepfake_detector.corpora.adapters.listing import Listing, unexpected_folder, video_ids

TITLE = "a folder of real/ and fake/ videos"


def read(root: Path) -> Listing:
    """Rows of the real videos, then of the fakes. Raises CorpusError."""
    listing = Listing()
    for path in listing.list_videos(root):
        top, *inner = path.split("/")
        if top.lower() not in ("real", "fake") or not inner:
            listing.unlisted.append(path)
            continue
        row = {"filepath": path, "label": top.lower()}
        listing.rows.append(row | {"method": inner[0] if len(inner) > 1 and row["label"] == "fake" else ""})
    if {row["label"] for row in listing.rows} != {"real", "fake"}:
        raise unexpected_folder(root, TITLE, "videos in a folder real/ and in a folder fake/")
    listing.rows.sort(key=lambda row: row["label"] == "fake")
    names = video_ids([row["filepath"] for row in listing.rows])
    listing.rows = [{"video_id": name} | row for name, row in zip(names, listing.rows, strict=True)]
    listing.notes.append("nobody is named: set split.identities to faces, or add the columns identity and donor")
    return listing
