"""URLs, against servers of this machine: each is a row, whatever it says, whoever answers, and however."""

import errno
import gzip
import http.server
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from fsspec.registry import known_implementations

from deepfake_detector.faces import remote, sources
from deepfake_detector.faces.batch_extraction import record_of
from deepfake_detector.faces.remote import TemporaryFileError, UrlLimits, is_private
from deepfake_detector.faces.sources import find_videos, local_file, name_videos, printable, search_url
from deepfake_detector.faces.video_file import VideoError, probe
from deepfake_detector.inference import batch_prediction
from stages import infer
from tests.test_names import run_extract, run_infer

ROOT = Path(__file__).parent.parent
SMALL = UrlLimits(megabytes=3)
VIDEO = b"a video of few bytes"
WITHOUT_PICTURES = ("--overlay", "none", "--timeline", "false")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the path says; `content` is what it gives under any other name."""

    content = VIDEO
    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        kind, _, rest = self.path[1:].partition("/")
        answer = getattr(self, f"answer_{kind.partition('.')[0]}", self.answer_file)
        with suppress(ConnectionError):  # the client has enough
            answer(rest)

    do_HEAD = do_GET

    def answer_file(self, _):
        self.reply(200, self.content)

    def answer_status(self, code):
        self.reply(int(code[:3]), b"no")

    def answer_empty(self, _):
        self.reply(200, b"")

    def answer_to(self, target):
        self.reply(302, b"", Location=unquote(target))

    def answer_loop(self, _):
        self.reply(302, b"", Location=self.path)

    def answer_nowhere(self, _):
        self.reply(302, b"")

    def answer_short(self, _):
        self.reply(200, b"short", **{"Content-Length": "5000"})

    def answer_garbage(self, _):
        self.wfile.write(b"\xff\xfe no HTTP\r\n\r\n")

    def answer_header(self, _):
        self.reply(200, b"", **{"X-Long": "x" * 100_000})

    def answer_coding(self, _):
        self.reply(200, b"no gzip", **{"Content-Encoding": "gzip"})

    def answer_chunk(self, _):
        self.reply(200, b"zzz\r\nno chunk", **{"Transfer-Encoding": "chunked"})

    def answer_gone(self, _):
        self.connection.close()

    def answer_silent(self, _):
        self.send_response(200)
        self.end_headers()
        self.server.ending.wait(60)

    def answer_endless(self, _):
        """Says that it is small, and is not."""
        if self.command == "HEAD":
            self.reply(200, b"", **{"Content-Length": "10", "Accept-Ranges": "bytes"})
            return
        self.send_response(200)
        self.end_headers()
        for _ in range(2000):
            self.wfile.write(bytes(1 << 20))

    def answer_bomb(self, _):
        self.reply(200, gzip.compress(bytes(50_000_000)), **{"Content-Encoding": "gzip"})

    def answer_list(self, _):
        self.reply(200, b'<a href="b.mp4">b</a> <a href="a.mp4">a</a> <a href="notes.txt">n</a>')

    def reply(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


@pytest.fixture(scope="module")
def make_server():
    """A function that starts a server and returns it; `url` is where it is."""
    servers = []

    def make(content=VIDEO, host="127.0.0.1", kind=Server):
        handler = type("Answers", (Handler,), {"content": content, "requests": []})
        server = kind((host, 0), handler)
        server.requests = handler.requests
        server.ending = threading.Event()
        server.url = f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.ending.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server(make_server):
    return make_server()


def read(url, limits=SMALL):
    with local_file(url, limits) as path:
        return path.read_bytes()


def refusal(url, limits=SMALL):
    """Why a URL is not read. It names the URL, and is one line."""
    with pytest.raises(VideoError) as caught:
        read(url, limits)
    text = str(caught.value)
    assert url in text
    return text


def left_in(folder):
    """Files in a folder for temporary files, except that of ONNX Runtime, which it writes when it is imported."""
    return [path for path in Path(folder).iterdir() if path.name != ".ses"]


FOREIGN = sorted(set(known_implementations) - {"http", "https", "s3", "gs", "file"})
# {} is the address of a server, and each is an error.
SHAPES = [
    *(f"{scheme}://a/b.mp4" for scheme in FOREIGN),
    *(f"{scheme}://" for scheme in FOREIGN),
    *(f"{scheme}://*/[ab].mp4" for scheme in FOREIGN),
    *(f"{scheme}::http://{{}}/clip.mp4" for scheme in ("simplecache", "zip", "DVC", "filecache::zip", "nothing")),
    *("s3://b/x.mp4", "gs://b/x.mp4", "s3://", "gs://*", "S3://b/*.mp4", "s3://b/f/", "gs://b/f?*"),  # no package here
    *("zip://a.mp4::http://{}/a.zip", "file-x://a", "x://", "x+y.z-1://a", "HF://a/b", "data://a", "about://blank"),
    *("file:///no/x.mp4", "file://no.mp4", "FILE:///dev/zero", "file:///tmp/*/no?.mp4"),
    *("file:///a\0b.mp4", "file:///" + "x" * 300 + ".mp4", "file://[::1]/x", "file:///no/%20.mp4"),
    *("http://", "https://", "http:///x.mp4", "http://:80/x.mp4", "http://?", "http://#.mp4", "http://@/x.mp4"),
    *("http://[/x.mp4", "http://[::1/x.mp4", "http://[x]/x.mp4", "http://]/x.mp4", "http://{}:1/x.mp4"),
    *("http://127.0.0.1:1/x.mp4", "http://127.0.0.1:0/x", "http://127.0.0.1:99999/x.mp4", "http://127.0.0.1:-1/"),
    *("http://127.0.0.1:port/x.mp4", "http://127.0.0.1:1:1/x", "http://[::1]:1/x.mp4", "http://[::1]:1/*.mp4"),
    *("http://a b/x.mp4", "http://a\0b/x.mp4", "http://a\nb/x.mp4", "http://-/x.mp4", "http://../x", "http://a..b/x"),
    *("http://" + "x" * 64 + "/x.mp4", "http://" + "x." * 200 + "/x.mp4", "http://ß\u200d/x", "http://\udcff/x.mp4"),
    *("http://{}/status/403/x.mp4", "http://{}/status/403/*.mp4", "http://{}/status/404"),
    *("http://{}/status/500/x.mp4", "http://{}/status/500/[ab].mp4", "http://{}/status/503/**/x", "http://{}/status/407"),
    *("http://{}/status/401/", "http://{}/status/429/x.mp4", "http://{}/status/999/x.mp4", "http://{}/status/416/x.mp4"),
    *("http://{}/status/100/x.mp4", "http://{}/status/416/*", "http://u:p@{}/status/401/x", "http://u:@{}/status/404"),
    *("http://{}/loop/x.mp4", "http://{}/loop/*.mp4", "http://{}/nowhere/x.mp4", "http://{}/to/ftp:%2f%2fa/x.mp4"),
    *("http://{}/to/file:%2f%2f%2fetc%2fpasswd", "http://{}/to/http:%2f%2f", "http://{}/to/http:%2f%2f127.0.0.1:1"),
    *("http://{}/to/data:,x", "http://{}/to/http:%2f%2f[::1]:1", "http://{}/to/%00", "http://{}/to/%2f%2f[/x.mp4"),
    *("http://{}/short/x.mp4", "http://{}/short/*.mp4", "http://{}/garbage/x.mp4", "http://{}/garbage/"),
    *("http://{}/header/x.mp4", "http://{}/coding/x.mp4", "http://{}/chunk/x.mp4", "http://{}/gone/x.mp4"),
    *("http://{}/gone/", "http://{}/gone/*.mp4", "http://{}/endless/x.mp4", "http://{}/bomb/x.mp4", "HTTP://{}/gone/x"),
    *("https://{}/clip.mp4", "https://{}/*.mp4", "https://{}/", "http://{}/status/404?*.mp4"),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_url_of_any_shape_is_an_error_with_a_message(shape, server):
    refusal(shape.replace("{}", f"127.0.0.1:{server.server_port}"))


def test_urls_of_all_shapes_are_a_row_each(in_project, monkeypatch, exported, server):
    shapes = [shape.replace("{}", f"127.0.0.1:{server.server_port}") for shape in SHAPES]
    options = ["--checkpoint", exported, "--output", "out", "--url-megabytes", "3", *WITHOUT_PICTURES]
    code, table = run_infer(monkeypatch, *shapes, *options)
    assert code == 3 and list(table) == [printable(shape) for shape in shapes] and len(shapes) >= 250
    assert {row["verdict"] for row in table.values()} == {"error"}


@pytest.mark.parametrize("url", ["dvc://a/b.mp4", "git://a/*", "hf://a/b", "simplecache::http://{}/a.mp4", "ftp://{}/"])
def test_url_with_a_scheme_that_is_not_allowed_asks_nobody(url, make_server, monkeypatch):
    server = make_server()
    url = url.replace("{}", server.url.partition("://")[2])
    monkeypatch.setattr("fsspec.url_to_fs", lambda *_, **__: pytest.fail("a file system was made"))
    assert find_videos([url], limits=SMALL) == ([url], {})
    assert "infer.schemes allows http, https, s3, gs, file, and not " in refusal(url)
    assert not server.requests


def test_schemes_can_be_added_and_taken_away(server):
    url = f"simplecache::{server.url}/a.mp4"
    assert read(url, UrlLimits(("http", "simplecache"))) == VIDEO
    assert "allows http, and not simplecache" in refusal(url, UrlLimits(("http",)))
    assert "allows none, and not http" in refusal(server.url, UrlLimits(()))
    assert "and not file" in refusal(f"file://{__file__}", UrlLimits(("http",)))


def test_schemes_of_the_params_hold_for_labels_and_for_inference(in_project, monkeypatch, exported, server):
    url = f"{server.url}/a.mp4"
    report = run_extract(monkeypatch, [("a", url)], "--infer.schemes", "s3,file", "--max-failed", "1")
    assert report.loc["a", "reason"] == "a.mp4 is not opened: infer.schemes allows s3, file, and not http"
    report = run_extract(
        monkeypatch, [("a", f"{server.url}/endless/a.mp4")], "--infer.url_megabytes", "1", "--max-failed", "1"
    )
    assert report.loc["a", "reason"] == "a.mp4 is larger than infer.url_megabytes = 1 allows"
    options = ["--checkpoint", exported, "--output", "out", "--schemes", "s3,file", *WITHOUT_PICTURES]
    code, table = run_infer(monkeypatch, url, *options)
    assert code == 3 and "infer.schemes allows s3, file, and not http" in table[url]["message"]


@pytest.mark.parametrize("path", ["endless/a.mp4", "endless/a", "bomb/a.mp4"])
def test_answer_beyond_the_limit_is_cut_off(path, server):
    assert refusal(f"{server.url}/{path}").endswith("is larger than infer.url_megabytes = 3 allows")
    assert len(read(f"{server.url}/bomb/a.mp4", UrlLimits(megabytes=50))) == 50_000_000


def test_endless_page_does_not_fill_the_process_that_searches(server, monkeypatch):
    monkeypatch.setattr(sources, "SEARCH_GIGABYTES", 0.7)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert find_videos([f"{server.url}/endless", f"{server.url}/list/"])[0][0] == f"{server.url}/endless"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def test_glob_over_links_that_lead_back_is_given_up(tmp_path, monkeypatch, real_clip):
    (tmp_path / "good").mkdir()
    (tmp_path / "good/a.mp4").write_bytes(real_clip.read_bytes())
    (tmp_path / "bad").mkdir()
    for name in "abc":
        (tmp_path / "bad" / name).symlink_to(".")  # 3 ** 40 paths
    monkeypatch.setattr(sources, "SEARCH_SECONDS", 2)
    inputs = [str(tmp_path / name / "**/*.mp4") for name in ("bad", "good")]
    assert find_videos(inputs) == ([inputs[0], str(tmp_path / "good/a.mp4")], {})


def test_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.2)
    assert "cannot be fetched: " in refusal(f"{server.url}/silent/a.mp4")


def test_pages_are_searched_in_order(server):
    videos, others = find_videos([f"{server.url}/list/", f"{server.url}/clip.mp4?a=[*]", f"{server.url}/list/b.*"])
    assert videos == [f"{server.url}/{name}" for name in ("list/a.mp4", "list/b.mp4", "clip.mp4?a=[*]")]
    assert others == {".txt": 1}


def test_query_of_a_video_is_no_pattern_and_asks_nobody(make_server):
    server = make_server()
    url = f"{server.url}/clip.mp4?token=*[a]?"
    assert find_videos([url]) == ([url], {}) and name_videos([url]) == ["clip"] and not server.requests
    assert read(url) == VIDEO and len(server.requests) == 1


def test_scheme_in_capitals_and_address_with_colons_are_fetched(make_server):
    assert read(make_server().url.replace("http", "HTTP") + "/a.mp4") == VIDEO
    with suppress(OSError):  # a machine without IPv6
        Server6 = type("Server6", (Server,), {"address_family": socket.AF_INET6})
        server = make_server(host="::1", kind=Server6)
        assert read(f"http://[::1]:{server.server_port}/a.mp4") == VIDEO


def test_message_about_a_copy_names_the_url_only(server):
    with pytest.raises(VideoError) as caught, local_file(f"{server.url}/a.mp4", SMALL) as path:
        probe(path)
    assert str(caught.value) == f"{server.url}/a.mp4 is no video, or it is damaged or incomplete"
    assert refusal(f"{server.url}/empty/a") == f"{server.url}/empty/a is empty"


def test_copy_is_read_as_the_file_is(make_server, real_clip):
    server = make_server(real_clip.read_bytes())
    with local_file(f"{server.url}/a.mp4", SMALL) as path:
        assert probe(path) == probe(real_clip)


def test_file_url_is_the_file_itself(tmp_path, real_clip):
    clip = tmp_path / "a b?.mp4"
    clip.write_bytes(real_clip.read_bytes())
    with local_file(f"FILE://{clip}", SMALL) as path:
        assert path == clip
    assert find_videos([f"file://{tmp_path}"]) == find_videos([f"file://{tmp_path}/*"]) == ([str(clip)], {})
    assert find_videos([f"file://{clip}"]) == ([f"file://{clip}"], {})
    assert "is a folder, not a file" in refusal(f"file://{tmp_path}")


def test_file_url_in_the_output_folder_is_refused(in_project, monkeypatch, exported, real_clip, capsys):
    Path("clip.mp4").write_bytes(real_clip.read_bytes())
    monkeypatch.setattr(
        "sys.argv", ["infer", f"file://{in_project}/clip.mp4", "--output", ".", "--checkpoint", str(exported)]
    )
    with pytest.raises(SystemExit) as stop:
        infer.main()
    assert stop.value.code == 2 and "choose another folder" in capsys.readouterr().err


def to(url, target):
    return f"{url}/to/{quote(target, safe='')}"


def test_redirect_to_a_private_address_is_refused(make_server):
    server, private = make_server(), make_server(b"secret")
    port = private.server_port
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
        assert "private address" in refusal(to(server.url, f"http://{host}:{port}/a.mp4"))
        assert "private address" in refusal(to(server.url, to(server.url, f"http://{host}:{port}/a.mp4")))
    for host in ("2130706433", "127.1", "0x7f000001", "0177.0.0.1"):  # aiohttp takes none of them for an address
        refusal(to(server.url, f"http://{host}:{port}/a.mp4"))
    for search in ("", "*.mp4"):
        with pytest.raises(Exception, match="private address"):
            search_url(to(server.url, f"http://127.0.0.1:{port}/list/{search}"))
    assert not private.requests


def test_redirect_to_a_name_is_judged_by_the_address_that_is_called(make_server, monkeypatch):
    """The name of the video means its own server first, and another one later."""
    server, private = make_server(), make_server(b"secret", "127.0.0.2")
    meanings = {server.server_port: "127.0.0.1", private.server_port: "127.0.0.2"}
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *more, **named: resolve(meanings[port], port, *more, **named)
    )
    url = f"http://video.example:{server.server_port}"
    assert read(f"{url}/a.mp4") == VIDEO
    assert "private address 127.0.0.2" in refusal(to(url, f"http://video.example:{private.server_port}/a.mp4"))
    assert not private.requests


def test_what_the_user_names_may_be_private_and_redirect_to_itself(make_server):
    server = make_server()
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{server.server_port}"
        assert read(f"{url}/a.mp4") == read(to(url, "/b.mp4")) == read(to(url, to("", f"{url}/b.mp4"))) == VIDEO
    assert read(to(server.url, f"http://localhost:{server.server_port}/a.mp4")) == VIDEO


def test_redirect_to_https_on_the_same_private_host_is_no_redirect_elsewhere():
    guard = remote._RedirectGuard()
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    remote._is_redirected.set(False)
    guard._open_socket((*info, ("10.0.0.5", 80))).close()
    remote._is_redirected.set(True)
    for address in (("10.0.0.5", 80), ("10.0.0.5", 443), ("8.8.8.8", 443)):
        guard._open_socket((*info, address)).close()
    for address in (("10.0.0.5", 9000), ("10.0.0.6", 80), ("169.254.169.254", 80)):
        with pytest.raises(OSError, match="private address"):
            guard._open_socket((*info, address))


@pytest.mark.parametrize(
    "address, expected",
    [(address, True) for address in (
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::10.0.0.1", "ff02::1", "fd00:ec2::254",
    )] + [(address, False) for address in (
        "8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::",
    )],
)  # fmt: skip
def test_private_addresses_are_known(address, expected):
    assert is_private(address) is expected


def test_nothing_is_left_of_a_video_whose_worker_is_stopped(in_project, monkeypatch, exported, server):
    Path("tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(in_project / "tmp"))
    options = ["--checkpoint", exported, "--output", "out", "--timeout", "1", *WITHOUT_PICTURES]
    code, table = run_infer(monkeypatch, f"{server.url}/silent/a.mp4", *options)
    assert code == 3 and "took longer than infer.timeout = 1" in table[f"{server.url}/silent/a.mp4"]["message"]
    assert not left_in("tmp")


def test_nothing_is_left_of_a_video_when_the_run_is_killed(in_project, exported, make_server):
    server = make_server()
    Path("tmp").mkdir()
    command = [sys.executable, "-m", "stages.infer", f"{server.url}/silent/a.mp4", "--checkpoint", str(exported)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(in_project / "tmp")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    for _ in range(1200):
        if server.requests:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert server.requests and not left_in("tmp")


def test_copy_that_cannot_be_stored_is_not_the_fault_of_the_video(server, monkeypatch):
    monkeypatch.setattr(remote.tempfile, "TemporaryFile", partial(Path("/dev/full").open, "w+b"))
    with pytest.raises(TemporaryFileError) as caught:
        read(f"{server.url}/a.mp4")
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.errno == errno.ENOSPC and "No space left on device; free some space, set TMPDIR" in str(error)
    with pytest.raises(TemporaryFileError):
        record_of(error, 60, 4)


def test_copy_that_cannot_be_stored_ends_the_run_with_a_sentence(in_project, monkeypatch, exported, server, capsys):
    error = TemporaryFileError(errno.ENOSPC, "the copy cannot be stored")
    monkeypatch.setattr(batch_prediction, "parallel_map", lambda *_: iter([(0, error)]))
    monkeypatch.setattr("sys.argv", ["infer", f"{server.url}/a.mp4", "--checkpoint", str(exported)])
    with pytest.raises(SystemExit) as stop:
        infer.main()
    assert stop.value.code == 2 and capsys.readouterr().err == "error: the copy cannot be stored\n"


def test_copy_has_a_name_where_the_system_opens_no_other(server, monkeypatch, tmp_path):
    monkeypatch.setattr(remote.sys, "platform", "darwin")
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path))
    with local_file(f"{server.url}/a.mp4", SMALL) as path:
        assert path.is_relative_to(tmp_path) and path.read_bytes() == VIDEO
    assert not list(tmp_path.iterdir())
