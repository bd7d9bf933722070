"""PS3.15 Annex B: secure transport, spoken by dcmtk, by Python's ssl and by ourselves."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.dimse import command as commands
from dicom_node.dimse import peers, secure
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.dimse.peers import Peer
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.upper_layer.errors import AssociationLost, Rejected, UpperLayerError
from dicom_node.upper_layer.negotiation import Proposed
from fhir_server.config import Config, ConfigError
from tests.support.certificates import Authority, Certificate
from tests.support.clause import clause
from tests.support.dicom_data import ct, data_set_of, file_of
from tests.support.dicom_fixtures import Node
from tests.support.peers import dcmtk, run

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.entity("XINGLIN")


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Certificate:
    return authority.entity("CT1")


@pytest.fixture
def config(node: Node, authority: Authority, ours: Certificate) -> Config:
    return replace(
        node.config,
        dimse_tls="own-port",
        dimse_tls_port=0,
        dimse_tls_cert=str(ours.certificate),
        dimse_tls_key=str(ours.key),
        dimse_tls_ca=str(authority.file),
    )


@contextmanager
def listening(node: Node, config: Config) -> Iterator[list[int]]:
    entity = ApplicationEntity(config, node.engine, node.ingest)
    entity.start()
    try:
        yield entity.ports
    finally:
        entity.stop()


def tls(authority: Authority, own: Certificate) -> list[str | Path]:
    return ["+tls", own.key, own.certificate, "+cf", authority.file]


def echo(port: int, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return run(dcmtk("echoscu"), *options, "-aec", "XINGLIN", "127.0.0.1", str(port))


@clause("PS3.15 B.10", "non-downgrading BCP 195: its own profile and the extended one are spoken")
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_images_over_tls(
    node: Node,
    config: Config,
    authority: Authority,
    scanner: Certificate,
    profile: str,
    tmp_path: Path,
) -> None:
    dataset = ct(pixels=256)
    sent = tmp_path / "sent"
    sent.mkdir()
    file_of(dataset, sent)
    with listening(node, config) as (_, port):
        answer = run(
            dcmtk("storescu"), *tls(authority, scanner), profile, "-aec", "XINGLIN", "+sd", "127.0.0.1",
            str(port), sent,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
    assert node.kept(str(dataset.SOPInstanceUID)) == [data_set_of(sent / f"{dataset.SOPInstanceUID}.dcm")]


@clause(
    "PS3.15 B.10", "what was before BCP 195 is refused: no downgrade to TLS 1.1, CBC, RSA key exchange, NULL"
)
def test_old_profiles_are_refused(
    node: Node, config: Config, authority: Authority, scanner: Certificate
) -> None:
    with listening(node, config) as (_, port):
        for profile in ("+pn", "+pa"):
            assert echo(port, *tls(authority, scanner), profile).returncode != 0
        for suites, version in (
            ("AES128-SHA", ssl.TLSVersion.TLSv1_2),
            ("ECDHE-RSA-AES128-SHA256", ssl.TLSVersion.TLSv1_2),
            ("AES256-GCM-SHA384", ssl.TLSVersion.TLSv1_2),
            ("ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
        ):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                _handshake(port, authority, scanner, suites, version)
        _handshake(port, authority, scanner, "ECDHE-RSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2)


@clause("PS3.15 B.11", "extended BCP 195: keys of 256 bits only")
def test_the_extended_profile(node: Node, config: Config, authority: Authority, scanner: Certificate) -> None:
    with listening(node, replace(config, dimse_tls_profile="extended")) as (_, port):
        assert echo(port, *tls(authority, scanner), "+pz").returncode == 0
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _handshake(port, authority, scanner, "ECDHE-RSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2)


def _handshake(
    port: int, authority: Authority, own: Certificate, suites: str, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.file)
    context.load_cert_chain(own.certificate, own.key)
    context.set_ciphers(suites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.1, which is what is tried here
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.sendall(b"\x07\0\0\0\0\x04\0\0\0\0")
        secured.recv(1)


def test_a_caller_without_a_certificate_of_ours_is_refused(
    node: Node, config: Config, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "Other Authority")
    stranger = other.entity("CT1")
    with listening(node, config) as (_, port):
        answer = run(
            dcmtk("echoscu"), "+tls", stranger.key, stranger.certificate, "+cf", authority.file,
            "-aec", "XINGLIN", "127.0.0.1", str(port),
        )  # fmt: skip
        assert answer.returncode != 0
        assert echo(port, "+tla", "+cf", authority.file).returncode != 0
    with listening(node, replace(config, dimse_tls_clients="optional")) as (_, port):
        assert echo(port, "+tla", "+cf", authority.file).returncode == 0


@clause("PS3.8 9.1", "a plain caller at the TLS port fails fast, and holds nobody else up")
def test_a_plain_caller_at_the_tls_port(
    node: Node, config: Config, authority: Authority, scanner: Certificate
) -> None:
    with listening(node, config) as (plain, secured):
        silent = [socket.create_connection(("127.0.0.1", secured)) for _ in range(20)]  # in mid-handshake
        answer = run(dcmtk("echoscu"), "-ta", "20", "-aec", "XINGLIN", "127.0.0.1", str(secured))
        assert answer.returncode != 0
        assert echo(secured, *tls(authority, scanner)).returncode == 0
        assert echo(plain).returncode == 0
        for one in silent:
            one.close()


def test_both_on_one_port(node: Node, config: Config, authority: Authority, scanner: Certificate) -> None:
    with listening(node, replace(config, dimse_tls="same-port")) as (port,):
        assert echo(port).returncode == 0
        assert echo(port, *tls(authority, scanner)).returncode == 0
    with listening(node, replace(config, dimse_tls="only")) as (port,):
        assert echo(port).returncode != 0
        assert echo(port, *tls(authority, scanner)).returncode == 0


@clause("PS3.15 B.10", "mutual TLS: an entity is known by its certificate")
def test_a_certificate_belongs_to_an_entity(
    node: Node, config: Config, authority: Authority, scanner: Certificate
) -> None:
    other = authority.entity("CT2")
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(scanner.certificate.read_text())).hexdigest()
    names = ("CN=CT1", "ct1.example", f"sha256:{fingerprint}", "CN=CT1,O=Hospital")
    with listening(node, config) as (plain, secured):
        for name in names:
            entry = Peer("CT1", "*", tls=True, certificate=name)
            peers.add(node.engine, entry, node.clock)
            assert echo(secured, *tls(authority, scanner), "-aet", "CT1").returncode == 0, name
            assert "Rejected" in echo(secured, *tls(authority, other), "-aet", "CT1").stderr
            assert "Rejected" in echo(plain, "-aet", "CT1").stderr
    assert node.rows("SELECT DISTINCT event->>'kind', event->'source'->>'ae' FROM dicom_audit") == [
        ("110113", "CT1")
    ]


def test_we_call_over_tls(
    node: Node, config: Config, authority: Authority, scanner: Certificate, tmp_path: Path
) -> None:
    context = secure.as_client(
        replace(config, dimse_tls_cert=str(scanner.certificate), dimse_tls_key=str(scanner.key))
    )
    with listening(node, config) as (plain, port):
        remote = Remote("XINGLIN", "127.0.0.1", port, tls=True)
        with associate(remote, "CT1", [Proposed(VERIFICATION)], tls=context) as association:
            answer, _ = association.request(
                association.contexts[0],
                {commands.COMMAND_FIELD: 0x30, commands.AFFECTED_SOP_CLASS_UID: VERIFICATION},
            )
            assert answer[commands.STATUS] == 0
        wrong = secure.as_client(
            replace(config, dimse_tls_ca=str(Authority(tmp_path / "other", "Other").file))
        )
        with (
            pytest.raises(AssociationLost, match="no TLS with XINGLIN"),
            associate(remote, "CT1", [Proposed(VERIFICATION)], tls=wrong),
        ):
            pass
        with (
            pytest.raises(UpperLayerError, match="dimse_tls_cert"),
            associate(remote, "CT1", [Proposed(VERIFICATION)]),
        ):
            pass
        with (
            pytest.raises(Rejected, match="called AE title not recognized") as rejected,
            associate(Remote("NOPE", "127.0.0.1", plain), "CT1", [Proposed(VERIFICATION)]),
        ):
            pass
        assert not rejected.value.transient


def test_files_that_cannot_be_used_are_named(node: Node, config: Config, tmp_path: Path) -> None:
    for changes, words in (
        ({"dimse_tls_cert": str(tmp_path / "none.pem")}, "none.pem"),
        ({"dimse_tls_ca": str(tmp_path / "none.pem")}, "authorities"),
    ):
        with pytest.raises(ConfigError, match=words):
            ApplicationEntity(replace(config, **changes), node.engine, node.ingest)


def test_large_objects_over_tls_from_several_at_once(
    node: Node, config: Config, authority: Authority, scanner: Certificate
) -> None:
    from dicom_node.upper_layer.negotiation import EXPLICIT_LITTLE
    from tests.support.dicom_data import encoded

    context = secure.as_client(
        replace(config, dimse_tls_cert=str(scanner.certificate), dimse_tls_key=str(scanner.key))
    )
    failures: list[str] = []

    def send(number: int, port: int) -> None:
        sop_class = "1.2.840.10008.5.1.4.1.1.2"
        with associate(
            Remote("XINGLIN", "127.0.0.1", port, tls=True),
            f"CT{number}",
            [Proposed(sop_class, [EXPLICIT_LITTLE])],
            tls=context,
        ) as association:
            for image in range(4):
                dataset = ct(series=number, number=image + 1, pixels=700)
                raw = encoded(dataset)
                answer, _ = association.request(
                    association.contexts[0],
                    {
                        commands.COMMAND_FIELD: 1,
                        commands.AFFECTED_SOP_CLASS_UID: sop_class,
                        commands.AFFECTED_SOP_INSTANCE_UID: str(dataset.SOPInstanceUID),
                    },
                    (raw[at : at + 50_001] for at in range(0, len(raw), 50_001)),
                )
                if answer[commands.STATUS] != 0 or node.kept(str(dataset.SOPInstanceUID)) != [raw]:
                    failures.append(str(answer))

    with listening(node, config) as (_, port):
        threads = [threading.Thread(target=send, args=(number, port)) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
