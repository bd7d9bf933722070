"""An installation with orders."""

from __future__ import annotations

import pytest

from tests.support.dicom_fixtures import Node
from tests.support.orders import Hospital, hospital


@pytest.fixture(name="hospital")
def _hospital(node: Node) -> Hospital:
    return hospital(node.config, node.clock)
