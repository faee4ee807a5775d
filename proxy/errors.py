"""What can go wrong with an exchange: whose fault, which status, which flag, and whether it may be repeated.

The letters are Envoy's response flags, so that people can read them. One table, because the answer to the client, the
counter, the access log and the documentation all say the same thing about a failure.
"""

from typing import Final

CLIENT: Final = "client"
PROXY: Final = "proxy"
UPSTREAM: Final = "upstream"


class Flag:
    """One way an exchange can go wrong.

    `status` is the HTTP status the client gets (0: the flag marks an answer and does not replace it), `error` whether it
    counts in tidegate_errors_total by default, `blameless` whether it never does unless a route names the flag itself, whatever
    the status; `repeatable` whether nothing had reached the upstream's application.
    """

    def __init__(
        self,
        index: int,
        code: str,
        status: int,
        side: str,
        meaning: str,
        *,
        error: bool = False,
        blameless: bool = False,
        repeatable: bool = False,
    ) -> None:
        self.index: Final = index
        self.code: Final = code
        self.status: Final = status
        self.side: Final = side
        self.meaning: Final = meaning
        self.error: Final = error
        self.blameless: Final = blameless
        self.repeatable: Final = repeatable


UH: Final = Flag(0, "UH", 503, UPSTREAM, "no reachable endpoint", error=True, repeatable=True)
UF: Final = Flag(1, "UF", 503, UPSTREAM, "could not connect to the upstream", error=True, repeatable=True)
UO: Final = Flag(2, "UO", 503, PROXY, "upstream limit reached", error=True, repeatable=True)
UT: Final = Flag(3, "UT", 504, UPSTREAM, "the upstream did not answer in time", error=True)
UC: Final = Flag(4, "UC", 502, UPSTREAM, "the upstream closed the connection", error=True)
UR: Final = Flag(5, "UR", 502, UPSTREAM, "the upstream reset the connection", error=True)
UPE: Final = Flag(6, "UPE", 502, UPSTREAM, "the upstream's answer was not valid HTTP", error=True)
URX: Final = Flag(7, "URX", 0, UPSTREAM, "retries exhausted")
NR: Final = Flag(8, "NR", 404, CLIENT, "no route")
DC: Final = Flag(9, "DC", 499, CLIENT, "the client went away", blameless=True)
SI: Final = Flag(10, "SI", 408, CLIENT, "the client was silent too long")
RL: Final = Flag(11, "RL", 429, CLIENT, "rate limited", blameless=True)
DPE: Final = Flag(12, "DPE", 400, CLIENT, "the request was not valid")
LS: Final = Flag(13, "LS", 503, PROXY, "load was shed", blameless=True)
DI: Final = Flag(14, "DI", 0, PROXY, "a delay was injected", blameless=True)
FI: Final = Flag(15, "FI", 0, PROXY, "a fault was injected", blameless=True)
FB: Final = Flag(16, "FB", 0, PROXY, "another version answered")
ST: Final = Flag(17, "ST", 0, PROXY, "a stale answer was served")
DN: Final = Flag(18, "DN", 403, PROXY, "every version is denied to this unit")
E5: Final = Flag(19, "5xx", 0, UPSTREAM, "the upstream answered 5xx", error=True)
NC: Final = Flag(20, "NC", 504, CLIENT, "only a stored answer was wanted, and there is none", blameless=True)
PL: Final = Flag(21, "PL", 0, PROXY, "a plugin answered", blameless=True)

FLAGS: Final[tuple[Flag, ...]] = (
    UH, UF, UO, UT, UC, UR, UPE, URX, NR, DC, SI, RL, DPE, LS, DI, FI, FB, ST, DN, E5, NC, PL,
)  # fmt: skip
FLAG_BY_CODE: Final[dict[str, Flag]] = {flag.code: flag for flag in FLAGS}


class TidegateError(Exception):
    """Base of what this program raises on purpose: the message is meant for the person who caused it."""


class ProtocolError(TidegateError):
    """A peer broke HTTP. `status` is what a client is told when the fault was in its request (an upstream's gives 502).

    `detail` names the offence without repeating the offending bytes.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = detail
