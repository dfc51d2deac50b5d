"""A process that holds a run until it is killed: ``python -m tests.integration.schedule_worker``."""

from __future__ import annotations

import sys
import threading

from infra.db.connect import engine
from infra.turns import Work
from producers.schedule_runs import running
from producers.schedules import Key
from schemas.ids import TenantId


def main(database: str, tenant: str) -> None:
    with running(database, engine(database, pool_size=1), Key(TenantId(tenant), Work.SIS)):
        print("running", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
