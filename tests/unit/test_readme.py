"""The README says what the code does: tables are generated, examples run through the real parsers.

`python -m tests.unit.test_readme` writes the generated tables anew.
"""

import argparse
import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from metronome_salesforce import arguments, hosts
from metronome_salesforce.canon import LongText, Lookup, MasterDetail, Number, Picklist, Text
from metronome_salesforce.linking import LinkReason
from metronome_salesforce.manifests import load
from metronome_salesforce.mapping import AutoNumber, Field, Formula, ObjectMapping, Role, RollUp
from metronome_salesforce.metrics import Metrics
from metronome_salesforce.objects import ACCOUNT_SUMMARY, OBJECTS, PACKAGED
from metronome_salesforce.report import Outcome, Trigger
from tests.monitoring import files as monitoring

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PACKAGE = ROOT / "operator" / "metronome_salesforce"
AGAIN = "python -m tests.unit.test_readme"

Json = Mapping[str, Any]


# -- tables --------------------------------------------------------------------------------------


def _table(headers: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _crd(plural: str) -> Json:
    document = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text("utf-8"))
    schema: Json = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return schema


def _crd_table(plural: str, part: str) -> str:
    schema = _crd(plural)[part]
    if part == "status":
        rows = ((f"`{path}`", _type(one), one["description"]) for path, one, _ in _leaves(schema))
        return _table(("field", "type", "meaning"), rows)
    return _table(
        ("field", "type", "default", "meaning"),
        (
            (f"`{path}`", _type(one), _default(one, required=required), one["description"])
            for path, one, required in _leaves(schema)
        ),
    )


def _leaves(schema: Json, path: str = "") -> Iterator[tuple[str, Json, bool]]:
    """Every field that has a description, with its path and whether it must be given."""
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        here = f"{path}{name}"
        if one.get("description"):
            yield here, one, name in required
        yield from _leaves(one, f"{here}.")
        items = one.get("items", {})
        if items.get("type") == "object":
            yield from _leaves(items, f"{here}[].")
        additional = one.get("additionalProperties")
        if isinstance(additional, dict) and additional.get("type") == "object":
            yield from _leaves(additional, f"{here}.*.")


def _type(schema: Json) -> str:
    if schema.get("enum"):
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['type']} {schema['minimum']}-{schema['maximum']}"
    return str(schema.get("format") if schema.get("format") in {"date", "date-time"} else "") or (
        str(schema["type"])
    )


def _default(schema: Json, *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in schema or schema["default"] == {}:
        return ""
    default = schema["default"]
    if isinstance(default, list):
        return "all of them" if default == schema["items"]["enum"] else ", ".join(default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _objects() -> str:
    return _table(
        ("in `spec.objects`", "object in Salesforce", "label", "a daily cycle looks at", "deleted"),
        (
            (
                f"`{one.name}`",
                f"`{one.sobject}`",
                one.label,
                one.reach.value,
                "see above" if one.prunable else "never",
            )
            for one in OBJECTS
        ),
    )


def _fields() -> str:
    return "\n\n".join(_object_fields(one) for one in (*PACKAGED, ACCOUNT_SUMMARY))


def _object_fields(mapping: ObjectMapping) -> str:
    rows = (
        (f"`{field.api}`", _kind(field), _meaning(field), _origin(field))
        for field in mapping.fields
    )
    title = f"#### {mapping.plural} (`{mapping.sobject}`)"
    return f"{title}\n\n" + _table(("field", "type", "meaning", "from Metronome"), rows)


def _meaning(field: Field) -> str:
    return "The [key](#keys) of every write." if field.role is Role.KEY else field.description


def _origin(field: Field) -> str:
    if field.role is Role.KEY and not re.fullmatch(r"[a-z_]+\.id", field.source):
        return "see [Keys](#keys)"
    if field.role in {Role.PLACE, Role.LINK}:
        return "see [Linking](#linking-customers-to-accounts)"
    return {Role.STAMP: "our own", Role.PLATFORM: "computed by Salesforce"}.get(
        field.role, f"`{field.source}`" if re.fullmatch(r"[\w.\[\]]+", field.source) else ""
    ) or (field.source)


def _kind(field: Field) -> str:
    match field.kind:
        case AutoNumber():
            return "Auto Number"
        case RollUp():
            return "Roll-Up Count"
        case Formula(kind, _, percent):
            return f"Formula ({'Percent' if percent else type(kind).__name__})"
        case Text(length) | LongText(length):
            return f"{type(field.kind).__name__}({length})"
        case Number(precision, scale):
            return f"Number({precision}, {scale})"
        case Lookup(target, _) | MasterDetail(target, _):
            return f"{type(field.kind).__name__} to `{target}`"
        case Picklist(values):
            return "Picklist: " + ", ".join(value for value, _ in values)
        case kind:
            return type(kind).__name__


def _metrics() -> str:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    of_syncs = ((one.name, one.kind, one.labels, one.text) for one in metrics.families)
    own = (each for one in list(registry._collector_to_names) for each in _families(one))
    return _table(
        ("metric", "type", "labels", "meaning"),
        (
            (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
            for name, kind, labels, text in (*of_syncs, *own)
            if name.startswith("metronome_salesforce_")
        ),
    )


def _families(collector: Any) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and meaning of what a collector has."""
    if isinstance(collector, MetricWrapperBase):
        # The library keeps names and labels to itself until there is a sample.
        labels = tuple(collector._labelnames)
        yield collector._name, str(collector._type), labels, collector._documentation
        return
    for family in collector.collect():
        ending = "_total" if family.type == "counter" else ""
        yield f"{family.name}{ending}", family.type, (), family.documentation


def _alerts() -> str:
    return _table(
        ("alert", "severity", "when"),
        (
            (
                f"[`{one['alert']}`](#{one['alert'].lower()})",
                one["labels"]["severity"],
                one["annotations"]["summary"],
            )
            for one in monitoring.alerts()
        ),
    )


def _panels() -> str:
    return _table(
        ("panel", "shows"),
        ((f"{one.row}: {one.title}", one.description) for one in monitoring.panels()),
    )


def _commands(
    parser: argparse.ArgumentParser, name: str, help_: str
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Each command that does something, with its help and its parser."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name, help_, parser
    for group in groups:
        helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for word, inner in group.choices.items():
            if word in helps:  # others are for the operator itself
                yield from _commands(inner, f"{name} {word}".strip(), helps[word])


def _command_line() -> str:
    parser = arguments.parser()
    parts = ["Before any command:", "", _options(parser)]
    for name, help_, inner in _commands(parser, "", ""):
        parts += ["", f"**`metronome-salesforce {name}`**: {help_}.", "", _options(inner)]
    return "\n".join(parts)


def _options(parser: argparse.ArgumentParser) -> str:
    return _table(
        ("option", "default", "meaning"),
        (
            (f"`{_spelling(action)}`", _shown(action), action.help or "")
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
        ),
    )


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return (action.metavar if isinstance(action.metavar, str) else action.dest).upper()
    value = ""
    if action.choices:
        value = " " + "|".join(action.choices)
    elif action.nargs != 0:
        value = f" {action.metavar or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def _shown(action: argparse.Action) -> str:
    if action.required:
        return "required"
    nothing = {None, False, argparse.SUPPRESS}
    return "" if action.default in nothing else f"`{action.default}`"


def _modules() -> str:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        contracts = tomllib.load(stream)["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    names = [name for layer in layers for name in re.findall(r"\w+", layer)]
    return _table(
        ("module", "what it does"), ((f"`{name}`", _purpose(name)) for name in (*names, "sandbox"))
    )


def _purpose(name: str) -> str:
    path = PACKAGE / f"{name}.py"
    path = path if path.exists() else PACKAGE / name / "__init__.py"
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.split("\n\n")[0]


def _targets() -> str:
    text = (ROOT / "Makefile").read_text("utf-8")
    found = re.findall(r"^([a-z-]+):.*## (.+)$", text, re.MULTILINE)
    return _table(("target", "what it does"), ((f"`make {name}`", help_) for name, help_ in found))


BLOCKS: Mapping[str, Callable[[], str]] = {
    "MetronomeSync spec": lambda: _crd_table("metronomesyncs", "spec"),
    "MetronomeSync status": lambda: _crd_table("metronomesyncs", "status"),
    "CustomerLink spec": lambda: _crd_table("customerlinks", "spec"),
    "CustomerLink status": lambda: _crd_table("customerlinks", "status"),
    "objects": _objects,
    "fields": _fields,
    "alerts": _alerts,
    "dashboard": _panels,
    "metrics": _metrics,
    "command line": _command_line,
    "modules": _modules,
    "make targets": _targets,
}


def _block(name: str) -> re.Pattern[str]:
    begin = re.escape(f"<!-- generated: {name} -->\n")
    return re.compile(f"{begin}(.*?)<!-- end -->", re.DOTALL)


def _content(name: str) -> str:
    # Blank lines around, without which a table is no table.
    return f"\n{BLOCKS[name]()}\n\n"


def _generate() -> None:
    text = README.read_text("utf-8")
    for name in BLOCKS:
        found = list(_block(name).finditer(text))
        if len(found) != 1:
            raise SystemExit(f"README.md must have the markers of {name!r} once")
        begin, end = found[0].span(1)
        text = text[:begin] + _content(name) + text[end:]
    README.write_text(text, "utf-8")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_generated_table_is_as_the_code_has_it(name: str) -> None:
    """`python -m tests.unit.test_readme` writes the tables again."""
    found = _block(name).findall(README.read_text("utf-8"))

    assert [_content(name)] == found, f"write the tables again with: {AGAIN}"


# -- what stands between them --------------------------------------------------------------------

_COMPOUND = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z0-9]+)+")
_WORD = re.compile(r"[A-Z][a-z]+")

# Words in the code that look like reasons: Kubernetes and Salesforce vocabulary.
_NO_REASONS = frozenset({
    "AssigneeId", "AutoNumber", "BearerToken", "BlankAsZero", "CommandSync", "ConfigMap",
    "ControlledByParent", "CustomApplication", "CustomField", "CustomMetadata", "CustomObject",
    "CustomTab", "CustomerLink", "CustomerLinks", "CycleReport", "DailyApiRequests", "DateTime",
    "FlexiPage",
    "IfMissing", "LastModifiedById", "LongTextArea", "MasterDetail", "MasterRecordId",
    "MetronomeSource", "MetronomeSync", "MetronomeSyncs", "PermissionSet",
    "PermissionSetId",
    "PermissionsAssignPermissionSets", "PermissionsCustomizeApplication",
    "PermissionsModifyMetadata", "PermissionsViewSetup",
    "ReadWrite", "ReportType", "SelfSubjectAccessReview", "SelfSubjectReview", "SetNull",
    "SubjectAccessReview", "SyncRun", "WriteBack",
})  # fmt: skip
_NO_REASONS_IN_CONDITIONS = frozenset({
    "Always", "False", "Id", "Never", "Normal", "Ready", "Reconciling", "Stalled", "True",
    "Unknown", "Username", "Warning",
})  # fmt: skip


def _strings(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _product_files() -> Iterator[Path]:
    for path in PACKAGE.rglob("*.py"):
        if not {"sandbox", "demo"}.intersection(path.parts):
            yield path


def _reasons() -> set[str]:
    """Every reason that conditions, runs and Events can have, read from the source."""
    compounds = {
        text for path in _product_files() for text in _strings(path) if _COMPOUND.fullmatch(text)
    }
    words = {
        text
        for name in ("conditions", "linkstatus", "salesforce/installing")
        for text in _strings(PACKAGE / f"{name}.py")
        if _WORD.fullmatch(text)
    } - _NO_REASONS_IN_CONDITIONS
    names = {mapping.name for mapping in OBJECTS}
    # Requests are told by an Event whose reason is the trigger; the other triggers are none.
    triggers = {trigger.value for trigger in Trigger}
    told = {Trigger.REQUESTED.value, Trigger.FULL_RESYNC.value}
    outcomes = {outcome.value for outcome in Outcome}
    links = {reason.value for reason in LinkReason}
    return (compounds - _NO_REASONS - names - triggers) | words | outcomes | told | links


def _section(title: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    text = README.read_text("utf-8")
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"README.md has no section {title!r}"
    return found[2]


def test_every_reason_is_explained_and_no_other() -> None:
    """A reason that somebody looks up is there, with what to do."""
    explained = re.findall(r"^\| `([A-Z]\w+)` \|", _section("Troubleshooting"), re.MULTILINE)

    assert sorted(_reasons()) == sorted(explained)


def test_no_default_is_a_word_of_the_parser_s_own() -> None:
    """Its parser marks what has no default with a text."""
    assert "SUPPRESS" not in _command_line()


def test_every_environment_variable_is_named() -> None:
    """What the code reads from the environment by name."""
    ours = {
        text
        for path in _product_files()
        for text in _strings(path)
        if re.fullmatch(r"METRONOME_SALESFORCE_[A-Z_]+|POD_NAME", text)
    }
    named = re.findall(r"^\| `([A-Z_]+)` \|", _section("Environment variables"), re.MULTILINE)

    assert {hosts.HOSTS_VARIABLE, hosts.DEFAULTS_VARIABLE, hosts.HTTP_VARIABLE} <= ours
    assert ours <= set(named)


def test_every_metric_that_is_named_exists() -> None:
    """Alerts are copied from here, and one on a metric that is not there stays silent."""
    named = set(re.findall(r"metronome_salesforce_[a-z_]+", README.read_text("utf-8")))

    assert named <= set(re.findall(r"metronome_salesforce_[a-z_]+", _metrics()))


def test_every_field_that_is_named_exists() -> None:
    """In running text, as `spec.usage.lookback` or `status.lastRun.rows`."""
    named = set(re.findall(r"`((?:spec|status)\.(?!py`)[\w.]+)", README.read_text("utf-8")))
    known = {
        f"{part}.{path}"
        for plural in ("metronomesyncs", "customerlinks")
        for part, schema in _crd(plural).items()
        for path, _, _ in _leaves(schema)
    }

    assert len(named) > 1
    assert sorted(named - known) == []


def _fences(language: str) -> list[str]:
    text = README.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _examples() -> list[Path]:
    return sorted((ROOT / "examples").glob("*.yaml"))


def test_the_readme_s_resources_are_valid(tmp_path: Path) -> None:
    """Whoever copies a block gets what the models accept."""
    syncs = links = 0
    for block in _fences("yaml"):
        (tmp_path / "block.yaml").write_text(block, "utf-8")
        bundle = load([str(tmp_path / "block.yaml")])
        syncs += len(bundle.syncs)
        links += len(bundle.links)

    assert (syncs, links) == (2, 1)


def test_the_examples_are_valid() -> None:
    """They load together, as `sync -f examples/` would load them."""
    bundle = load([str(ROOT / "examples")])

    assert [sync.metadata.name for sync in bundle.syncs] == ["production"]
    assert {"production"} == {link.spec.sync_ref.name for link in bundle.links}


def test_what_the_example_refers_to_is_among_the_examples() -> None:
    """Secrets and ConfigMaps are there, with the keys that are read, and hold no secret."""
    bundle = load([str(ROOT / "examples")])
    spec, space = bundle.syncs[0].spec, bundle.syncs[0].metadata.namespace
    bundle_ref = spec.salesforce.ca_bundle_config_map_ref

    api_key = bundle.secrets[space, spec.metronome.api_key_secret_ref.name]
    assert spec.metronome.api_key_secret_ref.key in api_key
    assert {"clientId", "clientSecret"} <= set(
        bundle.secrets[space, spec.salesforce.credentials_secret_ref.name]
    )
    if bundle_ref is not None:
        assert bundle_ref.key in bundle.config_maps[space, bundle_ref.name]
    for texts in bundle.secrets.values():
        assert all(text.startswith("replace-me") for text in texts.values())


def _command_lines() -> list[str]:
    """The commands of all shell blocks, continued lines joined, comments and pipes cut off."""
    lines: list[str] = []
    for block in _fences("sh"):
        joined = re.sub(r"\\\n\s*", " ", block)
        lines += [re.split(r"\s[|>#]|\s&&", line)[0].strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_commands_exist() -> None:
    """Each command of ours parses, each make target and each file that is named exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    parser = arguments.parser()
    ours = 0
    for line in _command_lines():
        words = shlex.split(line)
        if Path(words[0]).name == "metronome-salesforce":
            parser.parse_args(words[1:])  # exits, and so fails, on what does not exist
            ours += 1
        elif words[0] == "make":
            assert words[1] in targets, line
        elif words[0] == "kubectl" and "-f" in words:
            assert (ROOT / words[words.index("-f") + 1]).exists(), line
    assert ours


def test_links_lead_somewhere() -> None:
    """Headings and files that are linked to exist."""
    text = README.read_text("utf-8")
    headings = re.findall(
        r"^#+ (.+)$",
        re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL),
        re.MULTILINE,
    )
    anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


if __name__ == "__main__":
    _generate()
