"""URLs of every shape, and servers that answer in ways in which no server should."""

from itertools import product
from urllib.parse import quote

from fsspec.registry import known_implementations

from benchmarks.torture.server import serving
from benchmarks.torture.tally import WRONG_BYTES, Tally
from benchmarks.torture.trial import DETECTOR, Problem, Workshop, run_stage, try_each
from benchmarks.torture.videos import judge_runs, read_rows, row_problem
from deepfake_detector.faces.remote import TemporaryFileError, UrlLimits
from deepfake_detector.faces.sources import local_file, printable
from deepfake_detector.faces.video_file import VideoError

LIMITS = UrlLimits(megabytes=3)
MOST = 260
ANSWERS = [
    "status/403.mp4", "status/404.mp4", "status/416.mp4", "status/429.mp4", "status/500.mp4", "status/503.mp4",
    "status/204.mp4", "status/206.mp4", "status/304.mp4", "status/400.mp4", "empty.mp4", "loop.mp4", "nowhere.mp4",
    "short.mp4",
    "negative.mp4", "huge.mp4", "words.mp4", "range.mp4", "garbage.mp4", "header.mp4", "headers.mp4", "coding/gzip.mp4",
    "coding/deflate.mp4", "coding/br.mp4", "coding/x.mp4", "chunk.mp4", "gone.mp4", "slow.mp4", "endless.mp4",
    "bomb.mp4", "list/",
    "list/*.mp4", "links/**/*.mp4", "status/403*", "status/500*", "empty/", "gone/", "garbage/", "endless/", "bomb/",
    "header/",
    "a.mp4", "a.mp4?x=1", "a.mp4?x=*", "a.mp4#t", "a%20b.mp4", "a%00b.mp4", "a%0d%0aX: y.mp4", "..%2f..%2fetc/passwd",
    "%ff.mp4",
    "long.mp4", "silent.mp4",
]  # fmt: skip
GOOD = ("a.mp4", "slow.mp4", "a%20b.mp4", "long.mp4", "a.mp4?x=1", "a.mp4#t", "%ff.mp4", "a%00b.mp4")
REDIRECTS = [
    "http://127.0.0.2:{port}/a.mp4", "http://[::1]:{port}/a.mp4", "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "http://0.0.0.0:{port}/", "http://localhost:{port}/a.mp4", "http://2130706434:{port}/", "http://0x7f000002:{port}/",
    "http://[::ffff:127.0.0.2]:{port}/a.mp4", "http://127.2:{port}/", "file:///etc/passwd", "ftp://127.0.0.2/",
    "data:video/mp4,x",
    "gopher://127.0.0.2:{port}/", "//127.0.0.2:{port}/a.mp4", "http://", "http://:80",
    "http://user:pw@127.0.0.2:{port}/",
    "javascript:1", "", "\\\\127.0.0.2\\a.mp4", "http://127.0.0.2:{port}\\@example.com/",
]  # fmt: skip
SHAPES = [
    "http://", "https://", "http:///a.mp4", "http://:1/", "http://[::1", "http://[x]/", "http://a b/",
    "http://127.0.0.1:1/a.mp4",
    "http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://127.0.0.1:x/", "http://\x00/", "http://\n/",
    "HTTP://127.0.0.1:1/",
    "hTTps://127.0.0.1:1/a", "http://ü/", "http://xn--/", "http://" + "a" * 300 + "/", "http://" + "a." * 200 + "/",
    "http://127.0.0.1:1/" + "a" * 70_000, "s3://", "s3://b", "s3://b/k.mp4", "gs://", "gs://b/*", "file://", "file:///",
    "file:///missing.mp4", "file://host/x.mp4", "file:relative.mp4", "file:///dev/zero", "file:///proc/self/mem",
    "file:///etc/passwd",
    "zip://a.mp4::file:///x.zip", "zip://*::http://127.0.0.1:1/x.zip", "tar://a::zip://b::file://c", "::", "a::b",
    "://", "x://",
    "simplecache::http://127.0.0.1:1/a.mp4", "filecache::", "blockcache::http://127.0.0.1:1/", "reference://",
    "memory://a",
    "http://127.0.0.1:1/a.mp4::zip://b", "https://user:pass@127.0.0.1:1/a.mp4", "http://%31%32%37.0.0.1:1/",
    "data:,x", "mailto:x",
]  # fmt: skip


def made_urls(server: str, other: str) -> list[str]:
    port = other.rpartition(":")[2]
    redirects = [f"http://{server}/to/{quote(target.format(port=port), safe='')}" for target in REDIRECTS]
    schemes = [f"{scheme}://{rest}" for scheme, rest in product(known_implementations, ("", "a/b.mp4", "x@y:1/*"))]
    answers = [f"http://{server}/{answer}" for answer in ANSWERS]
    return answers + redirects + SHAPES + schemes


def fetched(shop: Workshop) -> Tally:
    """Each URL opened alone, and all in one run, in which each has a row."""
    room, tally = shop.room("fetched"), Tally()
    clip = min(
        (clip for clip in shop.clips if clip.suffix == ".mp4"), key=lambda clip: clip.stat().st_size
    ).read_bytes()
    with serving(clip) as server, serving(b"a secret", "127.0.0.2") as other:
        urls = shop.choose(made_urls(server, other), MOST)
        good = {f"http://{server}/{answer}" for answer in GOOD}
        try_each(tally, _fetch, {url: (url, clip if url in good else None) for url in urls})
        rows_of_all(tally, shop, room, [url for url in urls if "silent" not in url])
    return tally


def _fetch(task: tuple[str, bytes | None]) -> Problem:
    """Fetch a URL, which has this content; None if it must be refused, or leads to a part of it."""
    url, content = task
    try:
        with local_file(url, LIMITS) as path:
            found = path.read_bytes()
    except (VideoError, TemporaryFileError):
        return None
    except OSError as error:
        return None if url.startswith("file:") else (WRONG_BYTES, str(error))
    wrong = b"secret" in found or (content is not None and found != content)
    return (WRONG_BYTES, f"{len(found)} bytes that are not those of the video") if wrong else None


def rows_of_all(tally: Tally, shop: Workshop, room: object, urls: list[str]) -> None:
    options = ("--checkpoint", DETECTOR, "--url-megabytes", 3, "--overlay", "none", "--timeline", "false")
    single = [url for url in urls if "*" not in url and not url.endswith("/") and "\0" not in url and url]
    run = run_stage("infer", *single, "--output", "out", *options, folder=room)  # type: ignore[arg-type]
    rows = read_rows(room / "out")  # type: ignore[operator]
    for url in single:
        row = rows.get(printable(url))
        tally.add(f"in a run: {url}", row_problem(row and row | {"message": "fetched or not"}))
    judge_runs(tally, run)
