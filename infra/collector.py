"""Python's collector of cyclic garbage, set for processes that hold thousands of short-lived records."""

import gc

_NEW_OBJECTS = 50_000
_ROUNDS = 20


def calm() -> None:
    """Let the collector look seldom, and never at what the modules hold; call it when they are loaded.

    A batch makes many objects that live until it is committed and hold no cycles. With Python's defaults the
    collector goes over them again and again, which costs a stage one twentieth of its time.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _ROUNDS, _ROUNDS)
