"""Forwarding to peers as there are: over TLS, refusing, breaking off, slow; dcmtk's receivers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.dimse import peers, secure
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.forward import rules
from dicom_node.forward.rules import Rule
from dicom_node.forward.worker import Forwarder, ForwardSettings
from tests.support.certificates import Authority
from tests.support.clause import clause
from tests.support.dicom_data import ct
from tests.support.dicom_fixtures import Node
from tests.support.dicom_peers import Receiver, free_port, listening, program, storescp
from tests.support.server import wait_for

SETTINGS = ForwardSettings("XINGLIN", tries=3, max_age_hours=48)
IMAGES = 6
PROFILES = Path("/etc/dcmtk/storescp.cfg")


@pytest.fixture
def queued(node: Node) -> Callable[[Receiver], None]:
    """Lists a peer and queues a study for it."""

    def queue(peer: Receiver, **changes: Any) -> None:
        peers.add(node.engine, Peer("DEST", "127.0.0.1", peer.port, **changes), node.clock)
        rules.add(node.engine, Rule("all", "DEST"), node.clock)
        node.add(*(ct(number=number, pixels=16) for number in range(1, IMAGES + 1)))

    return queue


def forwarder(node: Node, destinations: Destinations | None = None) -> Forwarder:
    return Forwarder(node.engine, node.files, destinations or Destinations(node.engine), SETTINGS, node.clock)


def state(node: Node) -> list[tuple[Any, ...]]:
    return node.rows("SELECT sent, failures FROM dicom_forward_destination")


def turns(work: Forwarder, done: Callable[[], bool]) -> None:
    """Drain until something is so."""

    def turn() -> bool:
        work.drain()
        return done()

    wait_for(turn)


@clause("PS3.15 B.10", "forwarding goes over TLS to a destination that is listed so, and to no other")
def test_a_destination_over_tls(node: Node, queued: Callable[..., None], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    ours, theirs = authority.entity("XINGLIN"), authority.entity("DEST")
    config = replace(
        node.config, dimse_tls_cert=str(ours.certificate), dimse_tls_key=str(ours.key),
        dimse_tls_ca=str(authority.file),
    )  # fmt: skip
    options = ("+B", "+xa", "+tls", str(theirs.key), str(theirs.certificate), "+cf", str(authority.file))
    with storescp(*options, "-rc") as peer:
        queued(peer, tls=True)
        plain = forwarder(node)  # a worker that has no certificate does not send in the clear
        turns(plain, lambda: any(failures for _, failures in state(node)))
        assert not peer.files()
        node.clock.advance(hours=1)
        work = forwarder(node, Destinations(node.engine, secure.as_client(config)))
        turns(work, lambda: len(peer.files()) == IMAGES)


@pytest.mark.parametrize("fault", ["--refuse", "--abort-after", "--abort-during"])
def test_a_peer_that_fails_is_tried_again(node: Node, queued: Callable[..., None], fault: str) -> None:
    with storescp(fault) as peer:
        queued(peer)
        work = forwarder(node)
        turns(work, lambda: any(failures for _, failures in state(node)))
        port = peer.port
    with storescp(port=port) as well:
        node.clock.advance(hours=1)
        turns(work, lambda: len(well.files()) == IMAGES)


def test_a_slow_peer_gets_everything(node: Node, queued: Callable[..., None]) -> None:
    with storescp("+B", "+xa", "--sleep-after", "1") as peer:
        queued(peer)
        turns(forwarder(node), lambda: len(peer.files()) == IMAGES)
    assert state(node) == [(IMAGES, 0)]


def test_dcmrecv_is_a_destination(node: Node, queued: Callable[..., None], tmp_path: Path) -> None:
    with dcmrecv(tmp_path / "received") as peer:
        queued(peer)
        turns(forwarder(node), lambda: len(peer.files()) == IMAGES)
    assert {each.SOPInstanceUID for each in peer.datasets()} == {
        uid for (uid,) in node.rows("SELECT sop_uid FROM dicom_instance")
    }


@contextmanager
def dcmrecv(folder: Path) -> Iterator[Receiver]:
    folder.mkdir()
    port, log = free_port(), folder.parent / "dcmrecv.log"
    if not PROFILES.exists():
        pytest.skip(f"{PROFILES}, which says what dcmrecv takes, is not there")
    taken = ["-xf", str(PROFILES), "Default"]
    command = [program("dcmrecv"), "-v", *taken, "-aet", "DEST", "-od", str(folder), str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        listening(port, process, log)
        yield Receiver("DEST", port, folder, process, log)
    finally:
        process.kill()
        process.wait(10)
