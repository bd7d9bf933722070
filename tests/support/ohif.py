"""OHIF's prebuilt static site (npm package @ohif/app), served as docs/ohif.md says.

The site is no part of the project: XINGLIN_OHIF names the folder `package/dist` of the unpacked package.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONFIGURATION = """
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showCPUFallbackMessage: false,
  showLoadingIndicator: true,
  maxNumRequests: { interaction: 20, thumbnail: 10, prefetch: 10 },
  defaultDataSourceName: 'xinglin',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'xinglin',
    configuration: {
      friendlyName: 'Xinglin',
      name: 'xinglin',
      qidoRoot: 'DICOMWEB',
      wadoRoot: 'DICOMWEB',
      wadoUriRoot: 'DICOMWEB',
      qidoSupportsIncludeField: true,
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      supportsFuzzyMatching: true,
      supportsWildcard: true,
      supportsReject: false,
      dicomUploadEnabled: false,
      omitQuotationForMultipartRequest: true,
      singlepart: 'bulkdata,video',
      bulkDataURI: { enabled: true },
    },
  }],
};
"""


def missing() -> str | None:
    """Return why OHIF cannot be served, or None."""
    folder = os.environ.get("XINGLIN_OHIF")
    if not folder:
        return "XINGLIN_OHIF does not name the folder package/dist of @ohif/app"
    return None if (Path(folder) / "index.html").exists() else f"{folder} has no index.html"


@contextmanager
def served(dicomweb: str) -> Iterator[str]:
    """Give the address of the site, its data source being the DICOMweb services at `dicomweb`."""
    site = Path(os.environ["XINGLIN_OHIF"])

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, directory=str(site), **named)  # type: ignore[arg-type, misc]

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/app-config.js":
                raw = _CONFIGURATION.replace("DICOMWEB", dicomweb).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
                return
            if not (site / path.lstrip("/")).is_file():
                self.path = "/index.html"  # the site routes its own addresses
            super().do_GET()

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
