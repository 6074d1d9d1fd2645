"""Breaking our package on purpose: edits of its files as text, and the org that must refuse them.

A breakage is one rule of the platform broken in one place, with what the org must say about it.
"""

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from metronome_salesforce.salesforce.package import package_files
from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployResult

Files = dict[str, str]
"""The package's files as text, by their path in the zip."""

Edit = Callable[[Files], None]
"""Changes the files in place; an edit that finds nothing to change fails the test."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """One broken rule: the edit, a part of the org's sentence, and the component it is about."""

    name: str
    edit: Edit
    problem: str
    component: str


@lru_cache(maxsize=1)
def _sound() -> Files:
    return {path: content.decode() for path, content in package_files("66.0").items()}


def sound_files() -> Files:
    """A copy of the package as it is."""
    return dict(_sound())


def deploy(files: Files) -> DeployResult:
    """Deploy the files to a new org."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(files.items()):
            archive.writestr(path, content)
    org = SalesforceOrg(now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC))
    return org.deploy(buffer.getvalue())


def check_refused(breakage: Breakage) -> None:
    """Assert that the org refuses the broken package for that reason, and takes none of it."""
    files = sound_files()
    breakage.edit(files)
    assert files != sound_files()
    result = deploy(files)
    assert not result.success
    said = [each.problem or "" for each in result.failures if each.full_name == breakage.component]
    assert any(breakage.problem in each for each in said), result.problems


# --- edits ----------------------------------------------------------------------------------


def replacing(path: str, old: str, new: str) -> Edit:
    """Replace the first `old` in a file."""

    def edit(files: Files) -> None:
        assert old in files[path]
        files[path] = files[path].replace(old, new, 1)

    return edit


def adding(path: str, text: str) -> Edit:
    """Put elements at the end of a file."""

    def edit(files: Files) -> None:
        head, end, tail = files[path].rpartition("</")
        files[path] = f"{head}{text}{end}{tail}"

    return edit


def creating(path: str, text: str) -> Edit:
    """Add a file to the zip."""

    def edit(files: Files) -> None:
        assert path not in files
        files[path] = text

    return edit


def dropping(path: str) -> Edit:
    """Leave a file out of the zip, but not out of package.xml."""

    def edit(files: Files) -> None:
        del files[path]

    return edit


def moving(path: str, to: str) -> Edit:
    """Put a file elsewhere in the zip."""

    def edit(files: Files) -> None:
        files[to] = files.pop(path)

    return edit


def listing(kind: str, member: str) -> Edit:
    """Name one more member in package.xml."""

    def edit(files: Files) -> None:
        found = f"<name>{kind}</name>"
        assert found in files["package.xml"]
        files["package.xml"] = files["package.xml"].replace(
            found, f"<members>{member}</members>{found}", 1
        )

    return edit


def together(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(files: Files) -> None:
        for each in edits:
            each(files)

    return edit


def within(path: str, tag: str, holding: str, old: str, new: str) -> Edit:
    """Replace `old` in the first element `tag` of the file that holds the text `holding`."""

    def edit(files: Files) -> None:
        for match in re.finditer(rf"<{tag}>.*?</{tag}>", files[path], re.DOTALL):
            block = match[0]
            if holding in block:
                assert old in block
                changed = block.replace(old, new, 1)
                files[path] = files[path][: match.start()] + changed + files[path][match.end() :]
                return
        raise AssertionError(f"{path}: no {tag} with {holding}")

    return edit


def in_field(sobject: str, field: str, old: str, new: str) -> Edit:
    """Replace `old` in a field of an object."""
    name = f"<fullName>{field}</fullName>"
    return within(f"objects/{sobject}.object", "fields", name, old, new)


def in_view(sobject: str, view: str, old: str, new: str) -> Edit:
    """Replace `old` in a list view of an object."""
    name = f"<fullName>{view}</fullName>"
    return within(f"objects/{sobject}.object", "listViews", name, old, new)


def with_field(sobject: str, *elements: str) -> Edit:
    """Add a field to an object, made of these elements."""
    return adding(f"objects/{sobject}.object", f"<fields>{''.join(elements)}</fields>")
