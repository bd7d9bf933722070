"""An installation with orders, and a listener that goes by the clock of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicom_node.dimse.application_entity import ApplicationEntity
from tests.support.dicom_fixtures import Node
from tests.support.orders import Hospital, hospital


@pytest.fixture(name="hospital")
def _hospital(node: Node) -> Hospital:
    return hospital(node.config, node.clock)


@pytest.fixture
def dimse_port(node: Node) -> Iterator[int]:
    entity = ApplicationEntity(node.config, node.engine, node.ingest, clock=node.clock)
    yield entity.start()
    entity.stop()
