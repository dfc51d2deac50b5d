"""ELM's CData API Server as the hub sees it: the enrolment feed and the completion endpoint."""

from infra.simulators.elm.app import ElmServer, create_app, serve
from infra.simulators.elm.faults import Fault
from infra.simulators.elm.journal import Journal
from infra.simulators.elm.state import ElmState, Settings

__all__ = ["ElmServer", "ElmState", "Fault", "Journal", "Settings", "create_app", "serve"]
