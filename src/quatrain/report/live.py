"""A local page with the report of a study that is running.

    with LivePage(folder) as page:
        print(page.address)          # http://127.0.0.1:43210/, on this machine only
        ...                          # the study runs; the page is made again when it is looked at

The page is that of `quatrain report`, plus a script that loads a newer one and keeps the reader's
place. DIR/report/report.html, which is written too, has no such script and makes no request.

Other paths are not found. Requests by other names than localhost are refused, so that a page of
another site cannot read the report (DNS rebinding).
"""

import hashlib
import html
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from quatrain.report.build import load_report
from quatrain.report.write import write_report
from quatrain.results import ResultStore
from quatrain.specs import QuatrainError

SECONDS = 5.0
"""Seconds between two versions of the page, at least."""

_SHARE = 10
"""Making the page takes at most one part in so many of the time."""
_HOST = "127.0.0.1"
_NAMES = {_HOST, "localhost"}
_SCRIPT = Path(__file__).parent / "templates" / "live.js"
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Version:
    """A version of the page, and the tag that names it."""

    content: bytes
    tag: str


def build_page(folder: Path, data: Path | None = None) -> str:
    """Write the report of the results in `folder`, and return its page."""
    report = load_report(ResultStore(folder), data)
    return write_report(report, folder / "report").read_text("utf-8")


class LivePage:
    """A context in which a thread answers requests for the page of a study.

    Args:
        folder: the folder of results.
        port: the port of 127.0.0.1; 0 for a free one.
        data: as in `load_report`.
        build: makes the page.
        seconds: the least time between two versions of the page.

    Raises:
        OSError: on entry, if the port cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        data: Path | None = None,
        build: Callable[[], str] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._build = build or partial(build_page, folder, data)
        self._port = port
        self._seconds = seconds
        self._lock = threading.Lock()
        self._version = Version(b"", "")
        self._due = 0.0
        self._script = _SCRIPT.read_text("utf-8")

    def __enter__(self) -> Self:
        self._server = _Server((_HOST, self._port), partial(_Handler, self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        with self._lock:  # a page that is being made must not replace the final report
            self._due = math.inf
        self._server.server_close()

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{_HOST}:{self._server.server_port}/"

    def version(self) -> Version:
        """The present version; it is made again if the last one is old enough."""
        with self._lock:
            start = time.monotonic()
            if start >= self._due:
                self._version = self._make()
                end = time.monotonic()
                self._due = end + max(self._seconds, _SHARE * (end - start))
            return self._version

    def _make(self) -> Version:
        try:
            page = self._build()
        except QuatrainError as error:
            page = _message_page(str(error))
        except Exception as error:  # the page must not end the study
            page = _message_page(f"{type(error).__name__}: {error}")
        tag = hashlib.sha256(page.encode(errors="replace")).hexdigest()[:16]
        script = f'<script data-seconds="{self._seconds:g}" data-tag="{tag}">'
        script += f"{self._script}</script>\n"
        before, end, after = page.rpartition("</body>")
        live = f"{before}{script}{end}{after}" if end else page + script
        # The policy of the file allows no request.
        live = live.replace("default-src 'none';", "default-src 'none'; connect-src 'self';", 1)
        return Version(live.encode(errors="replace"), tag)


class _Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own, which ends with the program."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing, as when a reader closes the page."""


class _Handler(BaseHTTPRequestHandler):
    """Answers a request for the page."""

    timeout = 30
    server_version, sys_version = "quatrain", ""

    def __init__(self, page: LivePage, *arguments: object) -> None:
        self._page = page
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        """Send the page, or that the version in If-None-Match is the present one."""
        if self.headers.get("Host", "").partition(":")[0] not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "use the address that was printed")
        elif urlsplit(self.path).path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(self._page.version())

    do_HEAD = do_GET  # noqa: N815

    def _send(self, version: Version) -> None:
        tag = f'"{version.tag}"'
        is_known = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": "0" if is_known else str(len(version.content)),
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "ETag": tag,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and not is_known:
            self.wfile.write(version.content)

    def log_message(self, *_: object) -> None:
        """Print nothing: the terminal shows the study."""


def _message_page(message: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark"><title>No report yet</title></head>\n'
        f"<body><h1>No report yet</h1>\n<p>{html.escape(message)}</p>\n</body></html>\n"
    )
