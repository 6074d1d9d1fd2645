"""An embedded Kubernetes API for the demo and the tests; see `server.py` for what it models."""

from metronome_salesforce.sandbox.kubernetes.exceptions import ApiError
from metronome_salesforce.sandbox.kubernetes.faults import Call, Fault, Match
from metronome_salesforce.sandbox.kubernetes.server import KubernetesSandbox

__all__ = ["ApiError", "Call", "Fault", "KubernetesSandbox", "Match"]
