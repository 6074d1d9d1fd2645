"""The chart as Helm renders it, for several sets of values."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.helm import helm_path

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts" / "metronome-salesforce-operator"
RELEASE, NAMESPACE = "metronome", "metronome-salesforce"
SETS = sorted((HERE / "values").glob("*.yaml"))
_SECONDS = 60

Json = dict[str, Any]


def helm(
    major: int, *arguments: str | Path, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Helm, whatever comes of it; `given` goes to its standard input."""
    return subprocess.run(
        [helm_path(major), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env={"HOME": str(HERE), "PATH": "/usr/bin:/bin", **environment},
    )


def template(
    values: Json | Path | None = None, *extra: str, major: int = 4, chart: Path = CHART
) -> str:
    """What `helm template` prints, without blank lines, of which each Helm has its own number."""
    path = str(values) if isinstance(values, Path) else "-"
    given = "" if isinstance(values, Path) else yaml.safe_dump(values or {})
    where = ("--namespace", NAMESPACE, "--values", path)
    done = helm(major, "template", RELEASE, chart, *where, *extra, given=given)
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if line.strip()) + "\n"


def documents(text: str) -> list[Json]:
    """The manifests of a rendering."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


def only(manifests: list[Json], kind: str, name: str = "") -> Json:
    """The one manifest of the kind (whose name ends so)."""
    (found,) = (
        one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name)
    )
    return found


def goldens() -> dict[Path, str]:
    """Every golden file, and what has to stand in it."""
    return {HERE / "golden" / one.name: without_crds(template(one)) for one in SETS}


def without_crds(text: str) -> str:
    """The rendering without the CRDs' content, which has files and a test of its own."""
    parts = text.split("---\n")
    return "---\n".join(
        part.partition("\nspec:")[0] + "\nspec: ...\n"
        if "\nkind: CustomResourceDefinition\n" in part
        else part
        for part in parts
    )
