"""A served sandbox with one custom resource, and an HTTP client for it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox

Json = dict[str, Any]

WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [gadgets]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Ran, type: date, jsonPath: .status.ranAt}
    - {name: Size, type: integer, jsonPath: .spec.size, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, maximum: 100}
              color: {type: string, enum: [red, green, blue], default: red}
              label: {type: string, maxLength: 5, nullable: true}
              code: {type: string, pattern: '^[a-z]{3}$'}
              since: {type: string, format: date}
              at: {type: string, format: date-time}
              lookback: {type: string, format: duration}
              url: {type: string, format: uri}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              extra: {type: object, additionalProperties: {type: string}}
              parts:
                type: array
                maxItems: 3
                items: {type: string}
                x-kubernetes-list-type: set
              nested:
                type: object
                default: {}
                properties: {depth: {type: integer, default: 4}}
              owner:
                type: object
                properties: {name: {type: string}, id: {type: string}}
                x-kubernetes-validations:
                - rule: has(self.name) != has(self.id)
                  message: exactly one of name or id
              fixed:
                type: string
                x-kubernetes-validations:
                - {rule: self == oldSelf, message: fixed is immutable}
            x-kubernetes-validations:
            - rule: "!has(self.lookback) || self.lookback <= duration('2400h')"
              messageExpression: "'at most 100 days'"
            - rule: "!has(self.parts) || self.parts.all(part, part.startsWith('p'))"
              message: parts start with p
              fieldPath: .parts
          status:
            type: object
            properties:
              phase: {type: string}
              ranAt: {type: string, format: date-time}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status]
                  properties: {type: {type: string}, status: {type: string}}
"""


class Clock:
    """The time of a sandbox: stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def definition() -> Json:
    """A fresh copy of the definition."""
    document: Json = yaml.safe_load(WIDGETS)
    return document


def widget(name: str = "one", /, **spec: Any) -> Json:
    """A valid Widget of size 1, or with the given spec fields."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="sandbox")
def _sandbox(tmp_path: Path, clock: Clock) -> KubernetesSandbox:
    path = tmp_path / "widgets.yaml"
    path.write_text(WIDGETS)
    return KubernetesSandbox(crds=[path], now=clock)


@pytest.fixture(name="url")
def _url(sandbox: KubernetesSandbox) -> Iterator[str]:
    with sandbox.serve() as served:
        yield served.url


@pytest.fixture(name="http")
def _http(url: str) -> Iterator[httpx.Client]:
    # Plain http: loading the authorities would take longer than most tests.
    with httpx.Client(base_url=url, timeout=5, verify=False) as client:  # noqa: S501 -- no TLS here
        yield client


@pytest.fixture(name="kubeconfig")
def _kubeconfig(sandbox: KubernetesSandbox, url: str, tmp_path: Path) -> Path:
    return sandbox.write_kubeconfig(tmp_path / "kubeconfig", url)


WIDGETS_PATH = "/apis/example.com/v1/namespaces/default/widgets"

Refusal = Callable[[httpx.Response], tuple[int, str, str]]


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    """Code, reason and message of a Status, which must agree with the HTTP status."""
    status = response.json()

    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert status["code"] == response.status_code
    return status["code"], status["reason"], status["message"]
