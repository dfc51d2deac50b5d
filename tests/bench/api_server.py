"""One API process for the measurement and the tests: `python -m tests.bench.api_server DATABASE PORT`.

Beside Zoho's routes it has a kind of its own, so that the application can be tried alone.
"""

from __future__ import annotations

import signal
import sys
import threading

from infra.errors import HubError
from infra.mapping import RuleIdentity, TenantRules
from producers.web.serve import Served, run_api
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from producers.zoho.routes import ZohoWeb
from producers.zoho.settings import ZohoSettings
from schemas.ids import TenantId
from tests.bench.api_people import PEOPLE_ROUTE


def main(database: str, port: str) -> None:
    """Serve until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    zoho = ZohoWeb(ZohoSettings(tenant=TenantId("t")), lambda _: RuleIdentity(TenantRules(), "zoho"))

    def serving(services: WebServices) -> Served:
        return Served([PEOPLE_ROUTE, *zoho.routes(services)])

    run_api(WebSettings(port=int(port)), database, serving, stop, background=[zoho.background])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HubError as error:
        sys.exit(str(error))
