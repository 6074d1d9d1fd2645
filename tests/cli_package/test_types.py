"""Every file of the source against the types of the Metadata API, as Salesforce publishes them.

`@salesforce/types` is newer than the WSDL by which the emulated org checks what is deployed, and
the compiler that reads it here knows nothing of our code.
"""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli_package.source import NAMESPACE, components, meaning
from tests.salesforce_cli.install import Programs

pytestmark = pytest.mark.package

CHECK = Path(__file__).with_name("check_types.cjs")


def problems(programs: Programs, files: dict[str, bytes]) -> list[tuple[str, str]]:
    """What is wrong with each file."""
    asked = json.dumps([(file, meaning(content)) for file, content in files.items()])
    finished = subprocess.run(
        [programs.node, CHECK, programs.modules],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [(file, problem) for file, problem in json.loads(finished.stdout)]


def test_source_fits_the_types(programs: Programs, exported_source: Path) -> None:
    found = components(exported_source / "metronome")

    assert not problems(programs, {str(path): path.read_bytes() for path in found.values()})


# Files that do not fit, by what is wrong with them.
BREAKAGES = {
    "unknown element": (
        "<CustomField><lenght>3</lenght></CustomField>", "CustomField: has no element lenght",
    ),
    "unknown value": (
        "<CustomField><type>Pick</type></CustomField>",
        "CustomField.type: 'Pick' is none of its values",
    ),
    "twice": (
        "<CustomField><label>A</label><label>B</label></CustomField>",
        "CustomField: has label twice",
    ),
    "no boolean": (
        "<CustomField><unique>yes</unique></CustomField>",
        "CustomField.unique: 'yes' is no boolean",
    ),
    "no number": (
        "<CustomField><length>ten</length></CustomField>",
        "CustomField.length: 'ten' is no number",
    ),
    "elements in a text": (
        "<CustomField><label><b/></label></CustomField>",
        "CustomField.label: has elements in it",
    ),
    "text between elements": (
        "<CustomField>some<label>A</label></CustomField>", "CustomField: has text in it",
    ),
    "missing element, further in": (
        "<CustomField><lookupFilter><active>true</active></lookupFilter></CustomField>",
        "CustomField.lookupFilter: has no isOptional",
    ),
    "unknown type": ("<CustomThing/>", "CustomThing is no type"),
}  # fmt: skip


def test_what_does_not_fit_is_found(programs: Programs) -> None:
    files = {name: _document(xml) for name, (xml, _) in BREAKAGES.items()}

    found = problems(programs, files)

    assert found == [(name, problem) for name, (_, problem) in BREAKAGES.items()]


def _document(xml: str) -> bytes:
    root = ET.fromstring(xml)  # noqa: S314 -- written above
    for element in root.iter():
        element.tag = f"{{{NAMESPACE}}}{element.tag}"
    return ET.tostring(root)
