"""$install: a FHIR package, while the server runs.

    curl --data-binary @hl7.fhir.us.core-6.1.0.tgz -H 'Content-Type: application/gzip' \\
        http://127.0.0.1:8080/fhir/ImplementationGuide/\\$install

or the same bytes as `package` (base64Binary) in Parameters; `lenient` leaves faulty definitions out
instead of refusing the package. The answer says what became of it, as `xinglin package install` does.
"""

from __future__ import annotations

import base64
import binascii

from fhir_server.definitions import package
from fhir_server.definitions.operations import Parameter
from fhir_server.definitions.package import Limits
from fhir_server.interactions import install
from fhir_server.interactions.context import Context, Resource
from fhir_server.operations.declaration import TYPE, Call, Operation
from fhir_server.outcome import Invalid

LIMITS = Limits(packed_bytes=64 * 2**20, unpacked_bytes=256 * 2**20, file_bytes=32 * 2**20, files=20_000)
"""Less than what the command takes: a package is in memory while it is installed."""


def run(context: Context, call: Call) -> Resource:
    """Return Parameters with name, version, status, the number of definitions and notes.

    Raises what `package.read` and `install.install` raise.
    """
    found = call.one("package")
    if found is None:
        raise Invalid(
            "$install needs the package: as the body, with Content-Type application/gzip, "
            "or as the parameter package (valueBase64Binary) of Parameters",
            code="required",
        )
    checked = install.check(package.read(_bytes(found.value), LIMITS))
    lenient = call.one("lenient")
    made = install.install(context, checked, lenient=lenient is not None and lenient.value is True)
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "name", "valueString": made.name},
            {"name": "version", "valueString": made.version},
            {"name": "status", "valueCode": made.status},
            {"name": "definitions", "valueInteger": sum(made.counts.values())},
            *({"name": "note", "valueString": note} for note in made.notes),
        ],
    }


def _bytes(value: bytes | str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except binascii.Error as error:
        raise Invalid(f"the package is not base64: {error}") from error


INSTALL = Operation(
    code="install",
    definition="OperationDefinition/install",
    levels=frozenset({TYPE}),
    types=("ImplementationGuide",),
    affects_state=True,
    parameters=(
        Parameter("package", "in", 0, 1, "base64Binary"),
        Parameter("lenient", "in", 0, 1, "boolean"),
        Parameter("name", "out", 1, 1, "string"),
        Parameter("version", "out", 1, 1, "string"),
        Parameter("status", "out", 1, 1, "code"),
        Parameter("definitions", "out", 1, 1, "integer"),
        Parameter("note", "out", 0, None, "string"),
    ),
    run=run,
)
