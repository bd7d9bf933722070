"""The shipped facts are what the distiller makes of the official package."""

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[4]
PACKAGE = "data/packages/hl7.fhir.r4.core-4.0.1.tgz"


@pytest.fixture(scope="module")
def distil() -> ModuleType:
    specification = importlib.util.spec_from_file_location("distil", ROOT / "tools" / "distil.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_facts_are_distilled_from_the_official_package(distil, shared):
    built = distil.facts(shared(PACKAGE))
    assert sorted(built) == sorted(path.name for path in distil.FACTS.glob("*.gz"))
    for name, content in built.items():
        # What is inside is compared, because another zlib packs the same text into other bytes.
        assert gzip.decompress((distil.FACTS / name).read_bytes()) == gzip.decompress(content), name


def test_packing_knows_no_time_and_no_order(distil):
    assert distil.packed({"b": 1, "a": 2}) == distil.packed({"a": 2, "b": 1})
    assert distil.packed({})[4:8] == b"\0\0\0\0"


def test_another_file_is_refused(distil, tmp_path):
    (tmp_path / "package.tgz").write_bytes(b"something else")
    with pytest.raises(SystemExit, match="SHA-256"):
        distil.resources(tmp_path / "package.tgz")


def test_definitions_load_in_half_a_second():
    """Interpreter and imports included: the facts must not be what a start waits for."""
    program = (
        "import time; start = time.perf_counter()\n"
        "from fhir_server.definitions import compartments, operations, search_parameters, structures\n"
        "structures.type_code('Patient'); structures.fields('Patient')\n"
        "search_parameters.for_type('Patient'); compartments.members('Patient')\n"
        "operations.all_operations(); print(time.perf_counter() - start)"
    )
    taken = min(
        float(
            subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout
        )
        for _ in range(3)
    )
    assert taken < 0.5
