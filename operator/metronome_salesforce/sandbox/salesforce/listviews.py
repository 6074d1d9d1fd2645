"""TEMP"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ViewColumn:
    name: str
    label: str
    type: str


@dataclass(frozen=True, slots=True)
class ViewRow:
    id: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ListViewResult:
    object: str
    name: str
    label: str
    columns: tuple[ViewColumn, ...]
    rows: tuple[ViewRow, ...]


def list_views(state, sobject):
    return []


def run_list_view(*a):
    raise NotImplementedError
