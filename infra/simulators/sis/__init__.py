"""A student information system as the hub sees it: OneRoster 1.1 and 1.2, CSV export, grades taken back."""

from infra.simulators.sis.app import SisServer, create_app, serve
from infra.simulators.sis.csv_export import write_csv
from infra.simulators.sis.faults import Fault
from infra.simulators.sis.seeding import SisPlan, seeded
from infra.simulators.sis.state import Credentials, SisState

__all__ = [
    "Credentials",
    "Fault",
    "SisPlan",
    "SisServer",
    "SisState",
    "create_app",
    "seeded",
    "serve",
    "write_csv",
]
