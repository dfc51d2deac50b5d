"""Run a module that ends with its supervisor: ``python -m infra.cli.tethered MODULE ARGUMENTS...``.

The supervisor holds the other end of standard input. When that ends, however the supervisor ended, this
process gets SIGTERM and stops in its own orderly way.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Watch standard input, and run the module named by the first argument as ``__main__``."""
    threading.Thread(target=_stop_at_end_of_input, daemon=True, name="tether").start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
