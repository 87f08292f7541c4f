import http.client
import itertools
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from quatrain.report.live import LivePage, build_page
from quatrain.specs import StudyError

PAGE = "<html><head></head><body><p>1 of 2 runs</p></body></html>"


@pytest.fixture
def live(tmp_path, monkeypatch):
    """A page whose content a test changes, made anew for each request, however long it takes."""
    monkeypatch.setattr("quatrain.report.live._SHARE", 0.0)
    content = [PAGE]

    def build():
        if isinstance(content[0], Exception):
            raise content[0]
        return content[0]

    with LivePage(tmp_path, build=build, seconds=0.0) as page:
        page.content = content
        yield page


def request(page, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection(urlsplit(page.address).netloc, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def test_the_page_is_sent_with_a_script_that_loads_a_newer_one(live):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", live.address)
    response, body = request(live)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in response.headers["Content-Security-Policy"]
    start, _, end = body.partition("<script data-seconds=")
    assert start == PAGE.partition("</body>")[0]
    assert end.endswith("</script>\n</body></html>")


def test_the_policy_of_the_page_allows_requests_in_this_copy_only(store):
    file = build_page(store.root)
    with LivePage(store.root) as page:
        _, body = request(page)
    assert (store.root / "report" / "report.html").read_text() == file
    assert "fetch(" not in file
    assert "connect-src" not in file
    assert body.count("fetch(") == 1
    assert body.replace("connect-src 'self'; ", "").startswith(file.partition("</body>")[0])


def test_a_page_is_named_by_its_tag(live):
    first, _ = request(live)
    same, body = request(live, If_None_Match=first.headers["ETag"])
    assert (same.status, body) == (304, "")
    live.content[0] = PAGE.replace("1 of", "2 of")
    newer, body = request(live, If_None_Match=first.headers["ETag"])
    assert newer.status == 200
    assert "2 of 2 runs" in body
    head, nothing = request(live, method="HEAD")
    assert (head.headers["ETag"], nothing) == (newer.headers["ETag"], "")


@pytest.mark.parametrize(
    "path", ["/../study.json", "/%2e%2e/study.json", "//etc/passwd", "/report.html", "/.", "/a?b"]
)
def test_no_other_path_is_found(live, path):
    response, body = request(live, path)
    assert response.status == 404
    assert "1 of 2 runs" not in body


def test_a_query_does_not_matter(live):
    assert request(live, "/?now")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(live, method):
    assert request(live, method=method)[0].status == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("evil.example", 403), ("", 403), ("[", 403)],
)
def test_requests_by_other_names_are_refused(live, host, status):
    assert request(live, Host=host)[0].status == status


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StudyError("no <study> yet", "x"), "no &lt;study&gt; yet"),
        (ZeroDivisionError("by 0"), "by 0"),
    ],
)
def test_a_failure_is_shown_and_the_page_comes_back(live, error, text):
    live.content[0] = error
    response, body = request(live)
    assert response.status == 200
    assert text in body
    assert "<script data-seconds=" in body
    live.content[0] = PAGE
    end = time.monotonic() + 10
    while "1 of 2 runs" not in request(live)[1]:  # making it takes a tenth of the time at most
        assert time.monotonic() < end


def test_a_folder_without_a_study_is_one_sentence(tmp_path):
    with LivePage(tmp_path) as page:
        assert "has no study.json" in request(page)[1]


def test_the_page_is_made_again_only_after_some_seconds(tmp_path):
    times = []

    def build():
        times.append(time.monotonic())
        return PAGE

    with LivePage(tmp_path, build=build, seconds=0.5) as page:
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            request(page)
    assert 2 <= len(times) <= 3
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.5


def test_simultaneous_requests_make_one_page(tmp_path):
    made = []

    def build():
        time.sleep(0.2)
        made.append(1)
        return PAGE

    with LivePage(tmp_path, build=build) as page:
        readers = [threading.Thread(target=request, args=(page,)) for _ in range(5)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert len(made) == 1


def test_the_page_ends_with_the_context(tmp_path):
    with LivePage(tmp_path, build=lambda: PAGE) as page:
        address = urlsplit(page.address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), timeout=5)


def test_a_port_can_be_chosen_and_must_be_free(tmp_path):
    with LivePage(tmp_path, build=lambda: PAGE) as page:
        port = urlsplit(page.address).port
        with pytest.raises(OSError, match="in use"), LivePage(tmp_path, port=port):
            pass
    with LivePage(tmp_path, port=port, build=lambda: PAGE) as page:
        assert urlsplit(page.address).port == port


def test_a_page_that_is_being_made_is_finished_at_the_end_and_none_is_made_later(tmp_path):
    started, release, made = threading.Event(), threading.Event(), []

    def build():
        started.set()
        release.wait(30)
        made.append("page")
        return "<body></body>"

    with LivePage(tmp_path, build=build, seconds=0.0) as page:
        threading.Thread(target=page.version).start()
        assert started.wait(30)
        threading.Timer(0.2, release.set).start()
    assert made == ["page"]
    assert page.version().content
    assert made == ["page"]
