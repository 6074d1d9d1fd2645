"""An emulated Metronome: a tenant that lives, behind the vendor's HTTP API.

with MetronomeSandbox(Tenant.generate(now=now)).serve() as served:
    ...  # any client of the real API at served.url, with the key API_KEY
"""

from metronome_salesforce.sandbox.metronome.calls import PageLimits
from metronome_salesforce.sandbox.metronome.models import API_KEY, READ_KEY, MetronomeSandbox
from metronome_salesforce.sandbox.metronome.tenant import Tenant

__all__ = ["API_KEY", "READ_KEY", "MetronomeSandbox", "PageLimits", "Tenant"]
