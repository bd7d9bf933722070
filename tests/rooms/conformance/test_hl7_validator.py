"""The comparison with HL7's validator: mutants are the same for a seed, and differences are found."""

import doctest
import json
from pathlib import Path

from conformance.hl7_validator import ask, compare, mutants

PATIENT = {"resourceType": "Patient", "name": [{"family": "Li", "given": ["Na"]}], "active": True}


def test_mutants_are_the_same_for_a_seed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(PATIENT))
    (tmp_path / "no.json").write_text("[]")
    found = list(mutants.examples([tmp_path]))
    assert found == [("a.json", PATIENT)]
    first, again, other = (list(mutants.mutants(found, seed, 60)) for seed in (1, 1, 2))
    assert first == again != other
    assert all(mutant.resource != PATIENT for mutant in first)
    assert len({json.dumps(mutant.resource) for mutant in first}) > 30
    assert found == [("a.json", PATIENT)], "the example itself stays as it is"


def test_mutants_are_written_with_a_list(tmp_path):
    made = mutants.mutants([("a.json", PATIENT)], 1, 3)
    assert mutants.write(made, tmp_path / "m") == 3
    paths = (tmp_path / "m" / "list").read_text().splitlines()
    assert len(paths) == 3
    assert all("resourceType" in Path(path).read_text() for path in paths)


def answers(folder, name, **files):
    path = folder / name
    lines = [json.dumps({"file": file, **answer}) for file, answer in files.items()]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def error(place, text="got 'x'"):
    return ["error", "value", place, text]


def test_files_and_elements_of_one_side(tmp_path):
    hl7 = answers(
        tmp_path, "hl7",
        a={"issues": [error("Patient.value.ofType(code)"), error("Patient.name[0]/*Li*/.family")]},
        b={"issues": [error("Patient", "Example URLs are not allowed in this context")]},
        c={"issues": [error("Patient.name[0]")]},
        d={"crash": "…"},
    )  # fmt: skip
    ours = answers(
        tmp_path, "ours",
        a={"issues": [error("Patient.value"), error("Patient.active")]},
        b={"issues": [["warning", "value", "Patient", "…"]]},
        c={"issues": []},
        d={"issues": []},
    )  # fmt: skip
    found = compare.compare(hl7, ours)
    assert found.files == {"both": 1, "none": 1, "hl7": 1, "broken down": 1}
    assert list(found.alone) == [("hl7", "got …")]
    found = compare.compare(hl7, ours, elements=True, known=True)
    assert found.files["hl7"] == 2
    assert [issue.place for _, issue in found.alone["ours", "got …"]] == ["Patient.active"]
    places = [issue.place for _, issue in found.alone["hl7", "got …"]]
    assert places == ["Patient.name[0].family", "Patient.name[0]"]
    assert "got …" in found.text()


def test_doctests():
    assert doctest.testmod(compare).failed == doctest.testmod(ask).failed == 0
