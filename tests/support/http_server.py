"""A WSGI application on a real port of this process, for clients that speak HTTP and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from werkzeug.serving import make_server

from dicom_node.dicomweb import blueprint
from fhir_server.authorization.grant import Grant
from tests.support.dicom_fixtures import Node


@contextmanager
def dicomweb(node: Node) -> Iterator[str]:
    """Give the address of the DICOMweb services of a node."""
    app = Flask("dicomweb-on-a-port")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    address = f"http://127.0.0.1:{server.server_port}/dicom-web"
    app.register_blueprint(
        blueprint.create(node.engine, node.files, address, Grant.anonymous), url_prefix="/dicom-web"
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
