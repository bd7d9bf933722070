"""The listener under callers who mean no good, or nothing at all: others do not notice."""

from __future__ import annotations

import base64
import hmac
import json
import os
import random
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.dimse import peers
from dicom_node.dimse.application_entity import ApplicationEntity, services
from dicom_node.dimse.identity import password_hash
from dicom_node.dimse.peers import Peer
from dicom_node.dimse.store import is_storage
from dicom_node.upper_layer.slots import Slots
from tests.support import dimse_node
from tests.support.dicom_data import ct, encoded, file_of
from tests.support.dicom_fixtures import Node
from tests.support.peers import NO_DELAY, dcmtk, run
from tests.support.server import Server, wait_for
from tests.support.wire_dicom import (
    CT,
    EXPLICIT,
    VERIFICATION,
    Wire,
    associate_rq,
    context,
    counted,
    data,
    echo_rq,
    item,
    pdu,
    store_rq,
)


@contextmanager
def listening(node: Node, **settings: Any) -> Iterator[int]:
    config = replace(node.config, **settings)
    entity = ApplicationEntity(config, node.engine, node.ingest, clock=node.clock)
    yield entity.start()
    entity.stop()


def echoes(port: int, *items: bytes, **options: Any) -> int | tuple[int, ...]:
    """The status of a C-ECHO, or the numbers of the rejection."""
    with Wire(port) as wire:
        wire.send(associate_rq([context(1, VERIFICATION)], *items, **options))
        kind, body = wire.pdu()
        if kind == 3:
            return tuple(body[1:])
        assert kind == 2
        wire.send(data(1, 3, echo_rq()))
        status = wire.status()
        wire.release()
        return status


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, NO_DELAY], ids=["nagle", "nodelay"])
def test_fifty_hostile_callers_at_a_time_while_a_normal_sender_runs(
    node: Node, tmp_path: Path, environment: dict[str, str]
) -> None:
    datasets = [ct(number=n, pixels=128) for n in range(1, 61)]
    for dataset in datasets:
        file_of(dataset, tmp_path)
    over = threading.Event()
    attacks = [0] * 50

    def attack(number: int, port: int) -> None:
        chance = random.Random(number)
        while not over.is_set():
            hostile(chance, port)
            attacks[number] += 1

    with listening(node, dimse_artim_s=2.0) as port:
        threads = [threading.Thread(target=attack, args=(number, port)) for number in range(50)]
        for thread in threads:
            thread.start()
        answer = run(
            dcmtk("storescu"), "-aec", "XINGLIN", "+sd", "+sp", "*.dcm", "127.0.0.1", str(port), tmp_path,
            environment=environment,
        )  # fmt: skip
        over.set()
        for thread in threads:
            thread.join()
        assert answer.returncode == 0, answer.stderr
        assert sum(attacks) > 50
        for dataset in datasets:
            assert len(node.kept(str(dataset.SOPInstanceUID))) == 1
        assert echoes(port) == 0


def hostile(chance: random.Random, port: int) -> None:
    """One call that breaks off, lies about lengths, says nothing, or is noise."""
    dataset = ct(number=chance.randrange(1000, 10**6), pixels=16)
    good = associate_rq([context(1, CT, [EXPLICIT]), context(3, VERIFICATION)], calling="HOSTILE") + data(
        1, 3, store_rq(str(dataset.SOPInstanceUID))
    )
    good += data(1, 2, encoded(dataset)) + data(3, 3, echo_rq()) + pdu(5, bytes(4))
    match chance.randrange(6):
        case 0:
            raw = good[: chance.randrange(len(good))]
        case 1:
            mutant = bytearray(good)
            for _ in range(chance.randrange(1, 8)):
                mutant[chance.randrange(len(mutant))] = chance.randrange(256)
            raw = bytes(mutant)
        case 2:
            raw = struct.pack(">BBI", chance.choice((1, 4)), 0, chance.randrange(2**32)) + bytes(
                chance.randrange(5000)
            )
        case 3:
            raw = chance.randbytes(chance.randrange(3000))
        case 4:
            at = chance.randrange(len(good))
            raw = good[:at] + chance.randbytes(chance.randrange(100)) + good[at:]
        case _:
            raw = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.settimeout(chance.choice((0.01, 0.1, 0.5)))
            for at in range(0, len(raw), 700):
                sock.sendall(raw[at : at + 700])
            while sock.recv(4096):
                pass
    except OSError:
        pass


def test_a_caller_that_says_nothing_or_too_slowly_is_closed_in_time(node: Node) -> None:
    with listening(node, dimse_artim_s=0.5) as port:
        begun = time.monotonic()
        with Wire(port) as silent, Wire(port) as slow:
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for byte in associate_rq([context(1, VERIFICATION)]) * 100:
                    slow.send(bytes((byte,)))
                    time.sleep(0.01)  # this is how the caller behaves, not how we wait
            assert silent.ended()
        assert time.monotonic() - begun < 20


def test_a_silent_association_is_aborted(node: Node) -> None:
    with listening(node, dimse_idle_s=0.3) as port, Wire(port) as wire:
        wire.associate([context(1, VERIFICATION)])
        assert wire.ended()


def test_of_too_many_that_say_nothing_the_oldest_goes(node: Node) -> None:
    with listening(node) as port:
        waiting = [Wire(port) for _ in range(230)]
        try:
            assert waiting[0].ended()
            assert echoes(port) == 0
        finally:
            for one in waiting:
                one.socket.close()


def test_limits_are_told_as_what_passes(node: Node) -> None:
    with listening(node, dimse_max_associations=3, dimse_max_associations_per_ae=2) as port:
        wires = [Wire(port) for _ in range(3)]
        for wire, title in zip(wires, ("CT1", "CT1", "CT2"), strict=True):
            wire.associate([context(1, VERIFICATION)], calling=title)
        assert echoes(port, calling="CT3") == (2, 3, 1)
        wires[2].release()
        assert echoes(port, calling="CT1") == (2, 3, 2)
        wires[0].release()
        assert echoes(port, calling="CT1") == 0
        wires[1].release()
        for wire in wires:
            wire.socket.close()


def test_an_entry_can_have_a_limit_and_a_called_title_of_its_own(node: Node) -> None:
    peers.add(node.engine, Peer("CT1", "*", max_associations=1, called_title="OLDPACS"), node.clock)
    with listening(node) as port:
        assert echoes(port, calling="CT1", called="OLDPACS") == 0
        assert echoes(port, calling="CT1", called="OTHER") == (1, 1, 7)
        with Wire(port) as wire:
            wire.associate([context(1, VERIFICATION)], calling="CT1")
            assert echoes(port, calling="CT1") == (2, 3, 2)


def test_what_an_entity_has_no_right_to_is_refused_in_the_negotiation(node: Node) -> None:
    peers.add(node.engine, Peer("VIEWER", "*", rights=frozenset({"find"})), node.clock)
    peers.add(node.engine, Peer("GETTER", "*", rights=frozenset({"get"})), node.clock)
    with listening(node) as port:
        for title, results in (("VIEWER", [1, 0]), ("GETTER", [0, 0])):
            with Wire(port) as wire:
                said = wire.associate([context(1, CT, [EXPLICIT]), context(3, VERIFICATION)], calling=title)
                assert [one[2] for one in said[0x21]] == results
                if title == "GETTER":  # it may be sent images, not send them
                    wire.send(data(1, 3, store_rq("1.2.3")) + data(1, 2, bytes(100)))
                    assert wire.status() == 0x0124
                wire.release()


def test_a_user_is_asked_for_where_the_entry_has_one(node: Node) -> None:
    entry = Peer("MOBILE", "*", user_name="ward7", password_hash=password_hash("secret"))
    peers.add(node.engine, entry, node.clock)

    def identity(kind: int, name: str, passcode: str = "") -> bytes:
        return item(0x58, bytes((kind, 1)) + counted(name) + counted(passcode))

    with listening(node) as port:
        refused = (1, 2, 1)
        assert echoes(port, calling="MOBILE") == refused
        assert echoes(port, identity(1, "ward7"), calling="MOBILE") == refused
        assert echoes(port, identity(2, "ward7", "guess"), calling="MOBILE") == refused
        assert echoes(port, identity(2, "ward8", "secret"), calling="MOBILE") == refused
        assert echoes(port, identity(2, "ward7", "secret"), calling="MOBILE") == 0
        answer = run(
            dcmtk("storescu"), "-usr", "ward7", "-pwd", "secret", "-rsp", "-aet", "MOBILE", "-aec", "XINGLIN",
            "127.0.0.1", str(port), __file__,
        )  # fmt: skip
        assert "Rejected" not in answer.stderr
    noted = node.rows(
        "SELECT event->>'kind', event->>'outcome', event->>'reason', event::text FROM dicom_audit"
    )
    # the same refusal again within a minute is not written again
    assert [(kind, outcome) for kind, outcome, *_ in noted][:4] == [
        ("110113", "4"), ("110114", "4"), ("110114", "4"), ("110114", "0"),
    ]  # fmt: skip
    assert not any("secret" in event or "guess" in event for *_, event in noted)


def test_a_token_is_taken_where_its_key_is_known(node: Node, tmp_path: Path) -> None:
    key = tmp_path / "jwt.key"
    key.write_text("a key of tests\n")
    now = int(node.clock().timestamp())

    def token(signed_with: bytes = b"a key of tests", algorithm: str = "HS256", **claims: object) -> bytes:
        parts = [{"alg": algorithm}, {"sub": "ward7", "exp": now + 60, **claims}]
        signed = b".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts)
        mac = base64.urlsafe_b64encode(hmac.digest(signed_with, signed, "sha256")).rstrip(b"=")
        return item(0x58, bytes((5, 1)) + counted(signed + b"." + mac) + counted(""))

    refused = (1, 2, 1)
    with listening(node, dimse_jwt_key=str(key)) as port:
        assert echoes(port, token()) == 0
        for wrong in (
            token(b"another key"), token(algorithm="none"), token(exp=now - 1), token(nbf=now + 30),
            token(sub=None, exp="never"), item(0x58, bytes((5, 1)) + counted("no token") + counted("")),
        ):  # fmt: skip
            assert echoes(port, wrong) == refused
    with listening(node) as port:
        assert echoes(port, token()) == refused


def test_the_table_of_entities_cannot_be_read_and_nobody_comes_in_unchecked(node: Node) -> None:
    with listening(node, database_url="host=/nowhere") as port:
        with node.engine.connection() as connection:
            connection.cursor().execute("ALTER TABLE dicom_peer RENAME TO away")
            connection.commit()
        try:
            assert echoes(port) == (2, 3, 1)
        finally:
            with node.engine.connection() as connection:
                connection.cursor().execute("ALTER TABLE away RENAME TO dicom_peer")
                connection.commit()
        assert echoes(port) == 0


@pytest.mark.slow
def test_an_object_of_300_megabytes_needs_no_memory(fresh_database_url: str, tmp_path: Path) -> None:
    dataset = ct(pixels=16)
    raw = encoded(dataset)
    at = raw.index(b"\xe0\x7f\x10\x00OW")
    size = 300 * 1024 * 1024
    with dimse_node.running(fresh_database_url, tmp_path) as (pid, port), Wire(port, 250) as wire:
        before = _peak_memory_kb(pid)
        wire.associate([context(1, CT, [EXPLICIT])])
        wire.send(data(1, 3, store_rq(str(dataset.SOPInstanceUID))))
        wire.send(data(1, 0, raw[:at] + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", size)))
        piece = data(1, 0, bytes(128 * 1024 - 6))
        sent = 0
        while sent < size:
            take = min(size - sent, 128 * 1024 - 6)
            wire.send(piece if take == 128 * 1024 - 6 else data(1, 0, bytes(take)))
            sent += take
        wire.send(data(1, 2, b""))
        assert wire.status() == 0
        wire.release()
        assert _peak_memory_kb(pid) - before < 16 * 1024


def _peak_memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.slow
def test_an_acceptor_killed_during_stores_is_started_again_and_nothing_acknowledged_is_lost() -> None:
    with tempfile.TemporaryDirectory(prefix="xinglin-dimse-") as name:
        Path(name).chmod(0o755)  # the account of the embedded Postgres must be able to enter it
        _kill_acceptors(Server(Path(name) / "data", "--no-worker", "--workers", "1"))


def _kill_acceptors(server: Server) -> None:
    port = int(server.facts["dimse_port"])
    acknowledged: list[str] = []
    over = threading.Event()

    def send(series: int) -> None:
        number = 0
        while not over.is_set():
            try:
                with Wire(port) as wire:
                    wire.associate([context(1, CT, [EXPLICIT])], calling=f"CT{series}")
                    while not over.is_set():
                        number += 1
                        dataset = ct(series=series, number=number, pixels=32)
                        uid = str(dataset.SOPInstanceUID)
                        wire.send(data(1, 3, store_rq(uid)) + data(1, 2, encoded(dataset)))
                        if wire.status() == 0:
                            acknowledged.append(uid)
            except (OSError, EOFError, AssertionError):
                continue  # killed under us: a scanner calls again

    threads = [threading.Thread(target=send, args=(series,)) for series in range(1, 5)]
    try:
        for thread in threads:
            thread.start()
        for round_ in (1, 2):
            wait_for(lambda most=25 * round_: len(acknowledged) > most)
            name = f"dimse-{1 + round_ % 2}"
            old = server.pid(name)
            os.kill(old, signal.SIGKILL)
            wait_for(lambda name=name, old=old: server.pid(name) != old)
        wait_for(lambda: len(acknowledged) > 80)
        over.set()
        for thread in threads:
            thread.join()
        assert echoes(port) == 0
        wait_for(lambda: _indexed(server) >= set(acknowledged))
    finally:
        over.set()
        server.stop()


def _indexed(server: Server) -> set[str]:
    found: set[str] = set()
    while True:
        status, text = server.get(f"/dicom-web/instances?limit=1000&offset={len(found)}")
        page = {one["00080018"]["Value"][0] for one in json.loads(text)} if status == 200 else set()
        if not page - found:
            return found
        found |= page


def test_slots_are_counted_over_processes(tmp_path: Path) -> None:
    path = tmp_path / "run" / "slots"
    first, second = Slots(path, 1), Slots(path, 2)
    assert first.take("CT1", most=3, most_of_title=2)
    assert second.take("CT1", most=3, most_of_title=2)
    assert not first.take("CT1", most=3, most_of_title=2)
    assert second.take("CT2", most=3, most_of_title=2)
    assert not first.take("CT3", most=3, most_of_title=2)
    assert second.busier_than_another()
    assert not first.busier_than_another()
    again = Slots(path, 2)  # it was killed, and started anew
    assert again.total() == 1
    again.close()
    first.give_back("CT1")
    assert first.total() == 0
    first.close()


def test_each_service_has_a_right_of_its_name_and_sop_classes_of_its_own(node: Node) -> None:
    found = services(node.config, node.engine, node.files, node.clock)
    assert {one.name for one in found} <= {"echo", *peers.RIGHTS}
    claimed = [uid for one in found for uid in one.sop_classes]
    assert len(claimed) == len(set(claimed))
    assert not [uid for uid in claimed if is_storage(uid)]
