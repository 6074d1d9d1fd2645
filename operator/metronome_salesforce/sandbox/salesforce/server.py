"""The org on the wire: http and https, any number of ports for one org."""

from collections import deque
from collections.abc import Callable

from aiohttp import web

from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.salesforce.faults import Faults, RequestRecord
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.pages import Pages
from metronome_salesforce.sandbox.salesforce.responses import Gateway
from metronome_salesforce.sandbox.serving import Served

_REMEMBERED = 100_000


class SalesforceSandbox:
    """Serves one org.

    `requests` remembers the answered requests, newest last; `on_request` is called with each
    aiohttp request before it is answered. With `fast` (the default) asynchronous work is done at
    the second look, without it after several. With `person`, a username, there are web pages below
    `/app`, which show the org as that user sees it; their requests are not counted or remembered.
    """

    def __init__(
        self,
        org: SalesforceOrg,
        *,
        faults: Faults | None = None,
        fast: bool = True,
        person: str | None = None,
    ) -> None:
        self.org = org
        self.faults = faults or Faults()
        self.requests: deque[RequestRecord] = deque(maxlen=_REMEMBERED)
        self.on_request: Callable[[web.Request], None] | None = None
        pages = Pages(org, person) if person is not None else None
        self._gateway = Gateway(
            org, self.faults, self.requests.append, self._hooked, fast=fast, pages=pages
        )
        org.state.row_fault = self.faults.for_row

    def serve(self, port: int = 0, tls: CertificateAuthority | None = None) -> Served:
        """Start a server on loopback; with `tls` by https, certified by that authority."""
        context = tls.server_context() if tls is not None else None
        return Served(self._gateway.application, port=port, tls=context)

    def _hooked(self, request: web.Request) -> None:
        if self.on_request is not None:
            self.on_request(request)
