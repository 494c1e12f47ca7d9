"""The server of the page: what it shows to whom, its limit for uploads, its workers, and a proxy before it."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.test_web_app import ROOT, address, browser, project, sample_button, serving, verdict, visit  # noqa: F401
from web_app.http_headers import cookie_token


def ask(address, path="/", method="GET", headers=None, body=None):  # noqa: F811
    """Status, headers and start of the body of an answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read(2000)


def test_every_answer_forbids_frames_and_other_hosts(address):  # noqa: F811
    for path in ("/", "/_stcore/health", "/nothing/there"):
        headers = ask(address, path)[1]
        assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "http" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics?families=x", "/_stcore/agent/openapi.json"])
def test_metrics_and_other_interfaces_are_not_served(path, address):  # noqa: F811
    assert ask(address, path)[0] == 404


def test_each_new_visitor_gets_a_secret_that_no_script_reads(address):  # noqa: F811
    cookies = [ask(address)[1]["Set-Cookie"] for _ in range(2)]
    tokens = [cookie_token(cookie.partition(";")[0]) for cookie in cookies]
    assert len(set(tokens)) == 2 and all(len(token) == 43 for token in tokens)
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie for cookie in cookies)
    assert "Secure" in ask(address, headers={"X-Forwarded-Proto": "https"})[1]["Set-Cookie"]
    assert "Set-Cookie" not in ask(address, headers={"Cookie": f"visitor={tokens[0]}"})[1]


def test_upload_limit_of_the_server_follows_the_params(project, browser, tmp_path):  # noqa: F811
    """Streamlit's own limit is 200 MB."""
    with serving(project, tmp_path, "--megabytes", "300") as (_, address):  # noqa: F811
        page = visit(browser, address)
        assert page.get_by_text("300MB per file").count() == 1
        urls = []
        page.on("request", lambda request: urls.append(request) if request.method == "PUT" else None)
        (tmp_path / "a.mp4").write_bytes(b"x")
        page.locator("input[type=file]").set_input_files(str(tmp_path / "a.mp4"))
        page.locator(".st-key-details").wait_for()
        headers = urls[0].all_headers()
        sent = {name: headers[name] for name in ("cookie", "x-xsrftoken", "content-type")}
        path = urlsplit(urls[0].url).path
        statuses = {}
        for megabytes in (250, 400):
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            connection.putrequest("PUT", path)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(megabytes * 1_000_000))
            connection.endheaders()
            if megabytes == 250:  # the server asks for the rest
                connection.sock.settimeout(1)
                with pytest.raises(TimeoutError):
                    connection.sock.recv(1)
            else:
                statuses[megabytes] = connection.getresponse().status
            connection.close()
        assert statuses == {400: 413}
        page.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes are looked for in /proc")
def test_workers_end_with_a_server_that_is_killed(project, browser, tmp_path):  # noqa: F811
    with serving(project, tmp_path) as (server, address):  # noqa: F811
        page = visit(browser, address)
        sample_button(page).click()
        verdict(page)
        workers = children(server.pid)
        assert len(workers) >= 2
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        page.close()
    for _ in range(200):
        if not any(is_running(worker) for worker in workers):
            return
        time.sleep(0.05)
    pytest.fail("workers still run")


def children(parent):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_the_server_without_a_traceback(project, tmp_path):  # noqa: F811
    with serving(project, tmp_path) as (server, _):
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.fixture
def proxy(address, tmp_path):  # noqa: F811
    """nginx before the page, as the handbook sets it up, but without encryption."""
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not nginx:
        pytest.skip("nginx is not here; on Debian: apt-get install nginx-light")
    text = (ROOT / "docs/inference.md").read_text()
    server = re.search(r"```nginx\n(.*?)```", text, re.DOTALL)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", server)
    server = re.sub(r".*(ssl_certificate|auth_basic).*\n", "", server)
    server = server.replace("localhost:8501", urlsplit(address).netloc)
    paths = "".join(f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = f"pid {tmp_path}/pid; daemon off; error_log stderr; events {{}}\n"
    config += f"http {{ access_log off; {paths}\n{server} }}"
    (tmp_path / "nginx.conf").write_text(config)
    process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    for _ in range(100):
        try:
            ask(f"http://127.0.0.1:{port}")
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def test_page_works_behind_the_proxy_of_the_handbook(proxy, browser):  # noqa: F811
    status, headers, _ = ask(proxy)
    assert status == 200 and headers["X-Frame-Options"] == "DENY"
    page = visit(browser, proxy)
    sample_button(page).click()
    verdict(page)
    page.close()
