"""Buckets and web servers: read like local files, refused in one message, and never a way into this machine's own network."""

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import SourceError
from lmpipe.data.readers import remote
from lmpipe.data.readers.config import JsonlSource
from lmpipe.data.readers.sources import resolve


def parquet(columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=50)
    return buffer.getvalue()


MOTO = shutil.which("moto_server", path=os.path.dirname(sys.executable)) or shutil.which("moto_server")
ROWS = [{"text": f"row {number} " + "w" * (number % 50)} for number in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


TABLE = parquet({"text": [row["text"] for row in ROWS]})
FILES = {"/data/a.jsonl": LINES, "/data/b.jsonl.gz": gzip.compress(LINES)}


class Pages(BaseHTTPRequestHandler):
    """A few files, a redirect to wherever one asks, and refusals."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/away":
            self.send_response(302)
            self.send_header("Location", query)
            self.end_headers()
            return
        status = 200 if path in FILES else {"/forbidden.jsonl": 403}.get(path, 404)
        data = FILES.get(path, b"")
        self.send_response(status)
        if "streamed" not in path:
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{len(data)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    httpd = ThreadingHTTPServer(("0.0.0.0", 0), Pages)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.server_address[1]
    httpd.shutdown()
    httpd.server_close()


def source(*urls, **options):
    return {"kind": "jsonl", "paths": list(urls), **options}


def test_a_web_server_is_read_like_a_folder(tmp_path, read_corpus, server):
    urls = [f"http://127.0.0.1:{server}/data/{name}" for name in ("a.jsonl", "b.jsonl.gz")]
    found = read_corpus(source(*urls, allow_private_addresses=True), part_bytes=2000)
    (tmp_path / "data").mkdir()
    for name, data in FILES.items():
        (tmp_path / name.lstrip("/")).write_bytes(data)
    local = read_corpus(source("data"), part_bytes=2000)
    assert [d.id for d in found.documents] == [d.id for d in local.documents]
    assert len(found.documents) == 600


def test_a_server_that_gives_no_parts_of_files(tmp_path, read_corpus, server, monkeypatch):
    block = b"What a WET file holds."
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: {len(block)}\r\n\r\n"
    member = gzip.compress(head.encode() + block + b"\r\n\r\n")
    monkeypatch.setitem(FILES, "/data/streamed.warc.gz", member * 50)
    monkeypatch.setitem(FILES, "/data/streamed.parquet", TABLE)
    base = f"http://127.0.0.1:{server}/data"
    found = read_corpus(
        {"kind": "warc", "paths": [f"{base}/streamed.warc.gz"], "allow_private_addresses": True}, part_bytes=4000
    )
    assert len(found.texts) == 50
    with pytest.raises(SourceError, match="its server gives no parts of files"):
        read_corpus({"kind": "parquet", "paths": [f"{base}/streamed.parquet"], "allow_private_addresses": True})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_private_addresses_are_refused_unless_meant(server, host):
    with pytest.raises(SourceError, match="an address of this machine or its own network") as error:
        resolve(JsonlSource(paths=(f"http://{host}:{server}/data/a.jsonl",)), [])
    assert "allow_private_addresses: true" in error.value.fix


def test_a_redirect_leads_nowhere_else(server, monkeypatch):
    """127.0.0.2 plays the internet here, so that something public can point at something that is not."""
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.2")
    base = f"http://127.0.0.2:{server}"
    assert resolve(JsonlSource(paths=(f"{base}/data/a.jsonl",)), [])[0].size == len(LINES)
    with pytest.raises(SourceError, match=r"leads to 127\.0\.0\.1"):
        resolve(JsonlSource(paths=(f"{base}/away?http://127.0.0.1:{server}/data/a.jsonl",)), [])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        *((private, False) for private in ("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0")),
        *((private, False) for private in ("100.64.0.1", "224.0.0.1", "::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1")),
        ("64:ff9b::7f00:1", False),  # 127.0.0.1 behind NAT64
        ("2002:7f00:1::", False),  # and behind 6to4
    ],
)
def test_which_addresses_are_public(address, public):
    assert remote.is_public(address) is public


@pytest.mark.parametrize(("path", "said"), [("forbidden.jsonl", "403"), ("absent.jsonl", "404")])
def test_a_web_server_that_refuses(server, path, said):
    url = f"http://me:secret@127.0.0.1:{server}/{path}"
    with pytest.raises(SourceError, match=f"{said}|no file matches") as error:
        resolve(JsonlSource(paths=(url,), allow_private_addresses=True), [])
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there():
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match="cannot be read"):
        resolve(JsonlSource(paths=(f"http://127.0.0.1:{port}/a.jsonl",), allow_private_addresses=True), [])


def answers(port):
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def put(port, path, data):
    plain = {"Content-Type": "application/octet-stream"}  # what urllib says by itself makes the server look for a form
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data=data, headers=plain, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture(scope="module")
def bucket():
    """A server that speaks S3, in a process of its own, with some files in a bucket; its port."""
    if not MOTO:
        pytest.skip("no `moto_server`: install the extra [dev]")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not answers(port):
            time.sleep(0.1)
        put(port, "corpus", b"")
        for name, data in {**FILES, "/data/deep/c.jsonl": LINES, "/data/d.parquet": TABLE}.items():
            put(port, f"corpus{name}", data)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def s3(bucket, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{bucket}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return bucket


def test_a_bucket_is_read_like_a_folder(tmp_path, read_corpus, s3):
    found = read_corpus(
        source("s3://corpus/data"), {"kind": "parquet", "paths": ["s3://corpus/data/*.parquet"]}, part_bytes=2000
    )
    assert len(found.documents) == 1200
    (tmp_path / "data" / "deep").mkdir(parents=True)
    for name, data in {**FILES, "/data/deep/c.jsonl": LINES}.items():
        (tmp_path / name.lstrip("/")).write_bytes(data)
    (tmp_path / "data" / "d.parquet").write_bytes(TABLE)
    local = read_corpus(source("data"), {"kind": "parquet", "paths": ["data/*.parquet"]}, part_bytes=2000)
    assert [d.id for d in found.documents] == [d.id for d in local.documents]
    many = read_corpus(
        source("s3://corpus/data"), {"kind": "parquet", "paths": ["s3://corpus/data/*.parquet"]}, part_bytes=2000, workers=2
    )
    assert digests_of_folder(many.output) == digests_of_folder(found.output)


def test_a_file_of_a_bucket_that_changes(s3, read_corpus, tmp_path):
    put(s3, "corpus/changing.jsonl", LINES)
    (file,) = resolve(JsonlSource(paths=("s3://corpus/changing.jsonl",)), [])
    assert file.stamp
    assert file.digest() == resolve(JsonlSource(paths=("s3://corpus/changing.jsonl",)), [])[0].digest()


@pytest.mark.parametrize("url", ["s3://corpus/absent.jsonl", "s3://no-such-bucket/a.jsonl", "s3://no-such-bucket/*.jsonl"])
def test_what_a_bucket_has_not(s3, url):
    with pytest.raises(SourceError) as error:
        resolve(JsonlSource(paths=(url,)), [])
    assert url in error.value.where or url in str(error.value)
    assert error.value.fix


REFUSAL = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


class Refuses(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.send_header("Content-Length", str(len(REFUSAL)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(REFUSAL)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("url", ["s3://closed/a.jsonl", "s3://closed/*.jsonl"])
def test_a_bucket_that_refuses(monkeypatch, url):
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{httpd.server_address[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        with pytest.raises(SourceError, match=r"s3://closed/.* cannot be read: .*ACCESS_DENIED") as error:
            resolve(JsonlSource(paths=(url,)), [])
    finally:
        httpd.shutdown()
        httpd.server_close()
    assert error.value.fix == "check the address, the network and the credentials"
