"""A simulator of Luma's two APIs, over real sockets, without a key and without a network.

    with Simulator(clock=ManualClock()).running() as luma:
        id = luma.create(callback_url="http://127.0.0.1:8000/callbacks/…")
        luma.advance(0.5)  # the state is now dreaming, and the callback has been delivered
        luma.fault(Fault(status=503, times=2, path="/generations/"))
        luma.fault(Fault(drop=True, processed=True, method="POST"))  # the answer is lost
        …
        assert luma.count("GET", "/generations/") == 3
        assert "idempotency-key" not in luma.requests[-1].headers

`world.py` has the life of a generation, `sender.py` Luma's callback rule, `creates.py` and
`answers.py` its bodies. `engine.py` connects them, and `luma.py` controls a running simulator.
`files.py` has the life of a file, and `storage.py` its bytes. Every request passes `traffic.py`,
which records it, and `fault_injection.py`, which applies faults.
"""

from service.simulator.clock import Clock, ManualClock, RealClock
from service.simulator.faults import Fault
from service.simulator.luma import Luma
from service.simulator.sender import CallbackAttempt
from service.simulator.simulator import Simulator
from service.simulator.traffic import RequestSeen
from service.simulator.world import Plan

__all__ = [
    "CallbackAttempt",
    "Clock",
    "Fault",
    "Luma",
    "ManualClock",
    "Plan",
    "RealClock",
    "RequestSeen",
    "Simulator",
]
