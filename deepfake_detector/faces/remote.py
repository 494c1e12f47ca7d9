"""Videos at URLs: which may be fetched, how much of each, and where a redirect may lead."""

import errno
import ipaddress
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deepfake_detector.faces.video_file import VideoError

URL = re.compile(r"([a-z][a-z0-9+.-]+)(::|://)", re.IGNORECASE)  # a single letter is a drive of Windows
HTTP = ("http", "https")
LOCAL = ("file", "local")
CHUNK = 1 << 20  # bytes
CONNECT_SECONDS = 30
SILENT_SECONDS = 60  # after which a server that sends nothing is given up
NAT64 = ipaddress.ip_network("64:ff9b::/96")
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_is_redirected: ContextVar[bool] = ContextVar("is_redirected")  # of the HTTP request that runs in this task


class TemporaryFileError(OSError):
    """The copy of a video cannot be stored, whatever the video; `strerror` is a sentence that says why."""

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True)
class UrlLimits:
    """`schemes` of the URLs that may be opened, and the `megabytes` (10^6 bytes) that a video at a URL may have.

    With `public_only` an http or https URL itself must not lead to a private address, as no redirect may.
    """

    schemes: tuple[str, ...] = ("http", "https", "s3", "gs", "file")
    megabytes: int = 2000
    public_only: bool = False


DEFAULT_LIMITS = UrlLimits()


def url_schemes(text: str) -> list[str]:
    """Schemes of a URL in lower case; of a chain such as zip://a.mp4::https://host/b.zip, of all its parts.

    Empty for a path.
    """
    match = URL.match(text)
    if not match or "://" not in text:
        return []
    if match[1].lower() in HTTP + LOCAL and match[2] == "://":  # a :: further on is part of an address or a name
        return [match[1].lower()]
    parts = [part.partition("://")[0].lower() for part in text.split("::")]
    return [part if re.fullmatch(r"[a-z0-9+._-]+", part) else "file" for part in parts]


def is_url(text: str) -> bool:
    """Whether `text` is a URL of anything but a file of this machine."""
    return bool(set(url_schemes(text)) - set(LOCAL))


def local_path(source: str) -> str:
    """The path that a path or a file URL names."""
    if not url_schemes(source) or is_url(source):
        return source
    from fsspec.implementations.local import LocalFileSystem

    return str(LocalFileSystem._strip_protocol("file" + source[source.index("://") :]))


def check_scheme(source: str, limits: UrlLimits) -> None:
    """Raise VideoError for a URL whose schemes are not all allowed: some file systems call out when they are made."""
    for scheme in url_schemes(source):
        if scheme not in limits.schemes:
            allowed = ", ".join(limits.schemes) or "none"
            raise VideoError(f"{source} is not opened: infer.schemes allows {allowed}, and not {scheme}")


def open_system(url: str, public_only: bool = False) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path there. Raises anything, as file systems do."""
    import fsspec

    schemes = url_schemes(url)
    options = {"get_client": _RedirectGuard(public_only).open_session, "skip_instance_cache": True}
    if schemes[0] in HTTP:  # not by url_to_fs, which takes the :: of an IPv6 address for a chain
        return fsspec.filesystem(schemes[0], **options), schemes[0] + url[url.index("://") :]
    lower = url if "::" in url else schemes[0] + url[url.index("://") :]
    system, path = fsspec.url_to_fs(lower, **{scheme: dict(options) for scheme in schemes if scheme in HTTP})
    return system, path


@contextmanager
def fetched(url: str, limits: UrlLimits) -> Iterator[str]:
    """The path of a copy of what is at `url`, which is gone when the block ends, or the process, however it ends.

    Raises:
        VideoError: if the URL cannot be fetched, or has more bytes than allowed.
        TemporaryFileError: if the copy cannot be stored.
    """
    with _temporary_file() as (copy, path):
        try:
            system, remote_path = open_system(url, limits.public_only)
            # As a stream, and without asking for the size first: what a server says of it need not be true.
            how = {"block_size": 0, "size": 1} if url_schemes(url)[0] in HTTP else {}
            with system.open(remote_path, "rb", **how) as remote:
                _copy(remote, copy, limits.megabytes * 1_000_000)
        except TemporaryFileError:
            raise
        except _TooLargeError as error:
            limit = f"infer.url_megabytes = {limits.megabytes}"
            raise VideoError(f"{url} is larger than {limit} allows") from error
        except Exception as error:  # each file system raises its own kinds, and all mean that it cannot be fetched
            raise VideoError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error
        yield path


class _TooLargeError(Exception):
    pass


def _copy(remote: IO[bytes], copy: IO[bytes], limit: int) -> None:
    size = 0
    while chunk := remote.read(CHUNK):
        size += len(chunk)
        if size > limit:
            raise _TooLargeError
        with _storing():
            copy.write(chunk)
    with _storing():
        copy.flush()


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "free some space, set TMPDIR to another folder, or lower infer.url_megabytes"
        message = f"the copy of a video at a URL cannot be stored: {error.strerror or error}; {advice}"
        raise TemporaryFileError(error.errno or errno.ENOSPC, message) from error


@contextmanager
def _temporary_file() -> Iterator[tuple[IO[bytes], str]]:
    """An empty file, and the path under which this process can open it."""
    with _storing():
        # On Linux it never has a name, so that nothing is left of it when the process is killed.
        is_nameless = sys.platform == "linux"
        folder = None if is_nameless else tempfile.TemporaryDirectory()
        copy = Path(folder.name, "video").open("wb") if folder else tempfile.TemporaryFile()  # noqa: SIM115
    try:
        yield copy, copy.name if folder else f"/proc/self/fd/{copy.fileno()}"
    finally:
        with suppress(OSError):  # it would write what a full disk refused
            copy.close()
        if folder:
            folder.cleanup()


class _RedirectGuard:
    """Opens the sockets for one URL. A redirect must not lead to a private address, which only the user may name.

    It checks the address of every connection, so that it does not matter what a name meant earlier.
    """

    def __init__(self, public_only: bool = False) -> None:
        """With `public_only` not even the URL itself may lead to a private address."""
        self._public_only = public_only
        self._named: set[tuple[str, int]] = set()  # addresses and ports of the URL itself

    async def open_session(self, **options: Any) -> Any:
        """A session of aiohttp with the options that fsspec gives."""
        import aiohttp

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(_note_start)
        trace.on_request_redirect.append(_note_redirect)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        guard = {"connector": aiohttp.TCPConnector(socket_factory=self._open_socket), "trace_configs": [trace]}
        return aiohttp.ClientSession(**{"timeout": timeout, **options, **guard})

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, (address, port, *_) = info
        if self._public_only and is_private(address):
            raise OSError(errno.EACCES, "it leads to no public address")  # which one is not for strangers
        if not _is_redirected.get():
            self._named.add((address, port))
        elif is_private(address) and not self._is_named(address, port):
            raise OSError(errno.EACCES, f"it redirects to the private address {address}; give that URL if it is meant")
        return socket.socket(family, kind, protocol)

    def _is_named(self, address: str, port: int) -> bool:
        """Whether the URL leads there itself, or would after the usual change from http to https."""
        return (address, port) in self._named or (port == 443 and (address, 80) in self._named)


async def _note_start(*_: object) -> None:
    _is_redirected.set(False)


async def _note_redirect(*_: object) -> None:
    _is_redirected.set(True)


def is_private(address: str) -> bool:
    """Whether an IP address is not one of the public internet: loopback, private, link-local and the like."""
    found: IpAddress = ipaddress.ip_address(address.partition("%")[0])  # without the interface of fe80::1%eth0
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_site_local:
            return True
        embedded = found.ipv4_mapped or found.sixtofour
        if found in NAT64:
            embedded = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = embedded or found
    return not found.is_global or found.is_multicast
