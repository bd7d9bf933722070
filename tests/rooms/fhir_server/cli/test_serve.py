"""`xinglin serve`: what dies comes back, the others answer meanwhile, and it stops in order."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import pytest

from fhir_server.database.embedded import running_url
from tests.support.server import ROOT, Server, wait_for, xinglin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="xinglin-serve-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder / "data", "--workers", "2")
    yield server
    server.stop()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Asking(threading.Thread):
    """Asks /healthz over new connections all the time and keeps what went wrong."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.answered, self.failed, self.over = server, 0, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                with urllib.request.urlopen(f"{self.server.url}/healthz", timeout=30) as answer:
                    self.answered += answer.status == 200
            except OSError as error:
                self.failed.append(error)

    def __enter__(self):
        self.start()
        wait_for(lambda: self.answered > 5)
        return self

    def __exit__(self, *_):
        seen = self.answered
        wait_for(lambda: self.answered > seen + 5)
        self.over.set()
        self.join(60)


@pytest.mark.parametrize("name", ["http-1", "http-2", "dimse-1", "dimse-2", "worker", "postgres"])
def test_a_process_killed_comes_back_while_the_others_answer(server, name):
    old = server.pid(name)
    with Asking(server) as asking:
        os.kill(old, signal.SIGKILL)
        new = wait_for(lambda: (pid := server.pid(name)) != old and pid)
    assert _alive(new)
    # Only the request that the killed worker was answering may be lost; there is one client.
    assert len(asking.failed) <= (1 if name.startswith("http") else 0)
    wait_for(lambda: server.get("/readyz")[0] == 200)
    ended = [line for line in server.lines("process-ended") if line["pid"] == old]
    assert [line["exit_code"] for line in ended] == [-9]


def test_a_worker_killed_again_and_again_is_started_with_growing_pauses(server):
    with Asking(server) as asking:
        for _ in range(4):
            pid = wait_for(lambda: _alive(pid := server.pid("http-1")) and pid)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: server.pid("http-1") != pid)
    assert len(asking.failed) <= 4
    pauses = [line["again_in_s"] for line in server.lines("process-ended") if line["name"] == "http-1"]
    assert max(pauses) > 0
    counted = server.get("/metrics")[1]
    assert 'xinglin_process_restarts_total{process="http-1"}' in counted


def _round(connections):
    """Ask over all connections at once; return how many of them the server ended."""
    for connection in connections:
        connection.request("GET", "/fhir/metadata")
    ended = 0
    for connection in connections:
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        ended += answer.getheader("connection") == "close"
    return ended


def test_connections_that_are_all_one_worker_s_are_dealt_anew(server):
    old = server.pid("http-2")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{old}").exists())  # so the supervisor knows
    connections = [
        http.client.HTTPConnection("127.0.0.1", server.facts["port"], timeout=60) for _ in range(12)
    ]
    try:
        _round(connections)
        wait_for(lambda: (pid := server.pid("http-2")) != old and pid)
        wait_for(lambda: _round(connections) > 0)
        quiet = [1] * 20

        def evened_out():
            quiet.append(_round(connections))
            return not any(quiet[-20:])

        wait_for(evened_out)
    finally:
        for connection in connections:
            connection.close()


def test_threads_of_a_worker_share_one_heap(server):
    def arenas(name):
        environment = Path(f"/proc/{server.pid(name)}/environ").read_bytes().split(b"\0")
        return [each for each in environment if each.startswith(b"MALLOC_ARENA_MAX=")]

    own = os.environ.get("MALLOC_ARENA_MAX")
    assert arenas("http-1") == [f"MALLOC_ARENA_MAX={own or 1}".encode()]
    assert arenas("worker") == ([f"MALLOC_ARENA_MAX={own}".encode()] if own else [])


def test_readiness_says_what_is_wrong(server):
    parts = {"database": {"ok": True}, "disk": {"ok": True}, "queue": {"ok": True}}
    wait_for(lambda: server.get("/readyz")[0] == 200)
    assert json.loads(server.get("/readyz")[1]) == {"ready": True, "checks": parts}
    beat = Path(server.facts["data_dir"], "run", "worker.beat")
    os.kill(server.pid("worker"), signal.SIGSTOP)
    beat.write_text('{"at": 0, "pid": 1, "failing": []}')
    status, body = server.get("/readyz")
    os.kill(server.pid("worker"), signal.SIGCONT)
    assert status == 503
    assert "was last heard of" in json.loads(body)["checks"]["queue"]["problem"]
    wait_for(lambda: server.get("/readyz")[0] == 200)
    assert server.get("/healthz") == (200, "ok\n")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https(folder):
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key,
         "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = Server(folder / "tls", "--no-dimse", "--tls-cert", str(cert), "--tls-key", str(key))
    trust = ssl.create_default_context(cafile=str(cert))
    address = f"https://127.0.0.1:{server.facts['port']}/healthz"
    with urllib.request.urlopen(address, timeout=30, context=trust) as answer:
        assert answer.read() == b"ok\n"
    services = address.replace("/healthz", "/cds-services")
    with urllib.request.urlopen(services, timeout=30, context=trust) as answer:
        assert b'"services"' in answer.read()
    assert server.facts["base_url"].startswith("https://")
    assert server.stop() == 0


def test_a_second_server_on_the_same_data_folder_is_refused(server, folder):
    done = xinglin("serve", "--data-dir", str(folder / "data"), "--port", "0", "--no-dimse")
    assert done.returncode == 1
    assert f"is already served by process {server.process.pid}" in done.stderr


def test_a_command_beside_it_uses_the_running_database(server, folder):
    done = xinglin("migrate", "--check", "--data-dir", str(folder / "data"))
    assert (done.returncode, "up to date" in done.stdout) == (0, True)


@pytest.mark.parametrize("flag", ["--port", "--dimse-port"])
def test_a_port_in_use_is_said_plainly(folder, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = {"--port": "0", "--dimse-port": "0", flag: port}
        done = xinglin(
            "serve",
            "--data-dir",
            str(folder / "other"),
            *(part for pair in arguments.items() for part in pair),
        )
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--host", "0.0.0.0"), "--auth off is refused on 0.0.0.0"),
        (("--auth", "smart"), "not built yet"),
        (("--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"), "/nowhere.pem cannot be read"),
    ],
)
def test_what_must_not_be_served_is_refused(folder, arguments, reason):
    done = xinglin("serve", "--data-dir", str(folder / "other"), "--port", "0", "--no-dimse", *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_process_that_its_settings_keep_from_running_ends_the_start_with_its_reason(folder):
    done = xinglin(
        "serve",
        "--data-dir",
        str(folder / "open"),
        "--port",
        "0",
        "--dimse-port",
        "0",
        "--dimse-host",
        "0.0.0.0",
    )
    assert done.returncode == 1
    assert "no application entity is listed" in done.stderr
    assert re.fullmatch(
        "xinglin: dimse-[12] does not start; its reason stands above", done.stderr.splitlines()[-1]
    )
    assert running_url(folder / "open") is None


def test_a_data_folder_of_another_version_is_refused(folder):
    data = folder / "old"
    with tempfile.TemporaryDirectory():
        (data / "postgres").mkdir(parents=True)
        (data / "postgres" / "PG_VERSION").write_text("15\n")
        if os.geteuid() == 0:
            os.chown(data / "postgres", 65534, 65534)
    done = xinglin("serve", "--data-dir", str(data), "--port", "0", "--no-dimse")
    assert done.returncode == 1
    assert "is of Postgres 15 and this is Postgres 18" in done.stderr


def test_ctrl_c_stops_all_in_order_and_the_next_start_finds_everything(folder):
    server = Server(folder / "stopped", "--no-dimse")
    pids = [server.pid(name) for name in ("http-1", "http-2", "worker", "postgres")]
    assert server.stop(signal.SIGINT) == 0
    assert [pid for pid in pids if _alive(pid)] == []
    assert running_url(folder / "stopped") is None
    log = "".join(path.read_text() for path in (folder / "stopped" / "postgres" / "log").iterdir())
    assert "database system is shut down" in log
    again = Server(folder / "stopped", "--no-dimse")
    assert again.get("/readyz")[0] == 200
    assert again.stop() == 0


def test_when_the_supervisor_is_killed_its_children_end_and_the_next_start_works(folder):
    server = Server(folder / "killed", "--no-dimse")
    port = server.facts["port"]
    pids = [server.pid(name) for name in ("http-1", "http-2", "worker", "postgres")]
    server.stop(signal.SIGKILL)
    again = Server(folder / "killed", "--no-dimse", "--port", str(port))  # the port is free again, too
    assert [pid for pid in pids if _alive(pid)] == []
    assert again.get("/readyz")[0] == 200
    assert again.stop() == 0


SLOW = """
import sys, time
from pathlib import Path
from fhir_server.cli import http_worker
from fhir_server.cli.stopping import Stop
from fhir_server.config import Config

def application(environ, start_response):
    Path(sys.argv[2]).touch()
    while not Path(sys.argv[3]).exists():
        time.sleep(0.005)
    start_response("200 OK", [("content-length", "4")])
    return [b"done"]

http_worker.serve(Config(), application, int(sys.argv[1]), Stop(), lambda: None)
"""


def test_a_running_request_is_finished_before_a_worker_ends(tmp_path, request):
    begun, go = tmp_path / "begun", tmp_path / "go"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        worker = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(listener.fileno()), str(begun), str(go)],
            cwd=ROOT, pass_fds=[listener.fileno()], stdout=subprocess.PIPE,
        )  # fmt: skip
        request.addfinalizer(worker.kill)  # whatever fails below
        got = []

        def ask():
            with urllib.request.urlopen(
                f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=60
            ) as answer:
                got.append(answer.read())

        client = threading.Thread(target=ask, daemon=True)
        client.start()
        wait_for(begun.exists)
        worker.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.5)
        go.touch()
        client.join(60)
        assert worker.wait(60) == 0
    assert got == [b"done"]


def test_an_error_of_the_application_reaches_neither_log_nor_client(tmp_path):
    text = SLOW.replace("    Path(sys.argv[2]).touch()", "    raise ValueError('Marker-Wunderlich')")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        worker = subprocess.Popen(
            [sys.executable, "-c", text, str(listener.fileno()), "", ""],
            cwd=ROOT, pass_fds=[listener.fileno()], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=60)
        worker.terminate()
        output, _ = worker.communicate(timeout=60)
    assert caught.value.code == 500
    assert "Wunderlich" not in output + caught.value.read().decode()
