"""YAML as kubectl and the server read it: dates stay the strings that were written."""

from collections.abc import Iterator
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """SafeLoader without timestamps, which JSON and therefore Kubernetes does not have."""

    yaml_implicit_resolvers = {  # noqa: RUF012 -- PyYAML's own table, as its class has it
        first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def documents(text: str) -> Iterator[Any]:
    """The non-empty documents of a YAML stream; raises yaml.YAMLError."""
    for document in yaml.load_all(text, Loader=_Loader):
        if document is not None:
            yield document
