"""Other versions of the package than today's, as zips: an older one as it was, and made-up ones."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from metronome_salesforce.salesforce.package import package_files

RECORD = "customMetadata/Metronome_Package.Current.md"
BEFORE_VERSIONS = Path(__file__).with_name("package-before-versions.zip").read_bytes()
"""The package as it was before it had a version: objects, fields and two permission sets."""


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def changed(path: str, old: str, new: str) -> bytes:
    """Today's package with a text in one of its files replaced, which must be there."""
    files = package_files()
    text = files[path].decode()
    assert old in text
    return zipped({**files, path: text.replace(old, new).encode()})


def of_version(version: str) -> bytes:
    """Today's package under another version."""
    return changed(RECORD, ">0.1.0<", f">{version}<")
