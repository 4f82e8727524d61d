"""What can go wrong with one request of the loopback server, and a seeded chance of it. Standard library only."""

import math
import random
import time
from dataclasses import dataclass, replace
from email.utils import formatdate


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        kind: The name it is counted under.
        status: Answer with this status instead of 200.
        payload: The JSON to answer with, or None for an error of the usual form (or the usual completion).
        text: Bytes to answer with instead of any JSON.
        headers: More response headers.
        delay: Seconds before the answer.
        drop: Close the connection without an answer.
        cut: Promise the whole body and close the connection in the middle of it.
        reset: Break the connection off without an answer (RST).
        model: The name of the model that the completion says it is from.
    """

    kind: str = ""
    status: int = 200
    payload: object = None
    text: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    drop: bool = False
    cut: bool = False
    reset: bool = False
    model: str | None = None

    @property
    def harmless(self) -> bool:
        """Return whether the answer is the usual one, if late."""
        return replace(self, delay=0.0) == Fault()


_RESET_HEADERS = (("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "40ms"))

# Faults that another attempt survives, by kind. The waits that are asked for are short, so that tests are.
FAULTS = {
    "429": Fault(status=429),
    "429-seconds": Fault(status=429, headers=(("Retry-After", "0.05"),)),
    "429-date": Fault(status=429),  # with a date, when it is sent
    "429-ms": Fault(status=429, headers=(("retry-after-ms", "60"),)),
    "429-reset": Fault(status=429, headers=_RESET_HEADERS),
    "500": Fault(status=500),
    "503": Fault(status=503),
    "reset": Fault(reset=True),
    "half": Fault(cut=True),
    "no-json": Fault(text=b'{"object": "chat.completion", "choices": [{"index": 0, "mess'),
    "no-choices": Fault(payload={"object": "chat.completion", "choices": []}),
    "error-in-200": Fault(payload={"error": {"message": "the backend went away", "code": 502}}),
    "stall": Fault(delay=1.5),
    "other-model": Fault(model="another"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """Faults at random, decided by the seed and the number of the request alone.

    Attributes:
        rate: Share of the requests that fail, in [0, 1].
        stall: Seconds that a stalled request waits.
    """

    rate: float
    seed: int = 0
    kinds: tuple[str, ...] = tuple(FAULTS)
    stall: float = 1.5

    def __call__(self, number: int) -> Fault | None:
        """Return what goes wrong with the request of a number, counted from 0."""
        dice = random.Random(f"{self.seed} {number}")
        if dice.random() >= self.rate:
            return None
        kind = dice.choice(self.kinds)
        fault = replace(FAULTS[kind], kind=kind)
        if kind == "stall":
            return replace(fault, delay=self.stall)
        # In whole seconds, as dates are, and so at most one second from now.
        date = formatdate(math.ceil(time.time()), usegmt=True)
        return replace(fault, headers=(("Retry-After", date),)) if kind == "429-date" else fault
