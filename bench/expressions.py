"""What an expression costs beside the matcher of a field, in this process: `python -m bench.expressions` (some seconds).

Microseconds of one evaluation, the best of many rounds, and how many times those of `{header: x-plan, is: pro}` that is.
"""

import sys
import time

from proxy.core.http1 import parse_request
from proxy.core.match import Matcher, compile_matcher
from proxy.core.request import Request
from proxy.expressions import Expression, check

_EVALUATIONS = 5_000
_ROUNDS = 30
_HEAD = (
    b"GET /beta/cart?shop=bob HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\nAccept-Language: nb\r\nCookie: sid=0123456789abcdef; theme=dark\r\nx-user-id: user-1\r\n"
    b"x-geo-city: Paris\r\nx-plan: pro\r\nx-email: someone@example.org\r\nx-request-id: 0123456789abcdef"
)
FIELD = {"source": "header", "name": "x-plan", "test": "is", "value": "pro"}
EXPRESSIONS = (
    'unit == "alice"',
    'request.headers["x-plan"] == "pro"',
    'request.headers["x-plan"] == "pro" && request.path.startsWith("/beta")',
    'request.headers["x-nowhere"] == "pro"',
    'request.headers.exists(name, name == "x-plan")',
    'request.path.matches("^/beta/[a-z]+$")',
)


def microseconds(matcher: Matcher, request: Request) -> float:
    """Of one evaluation: the best of the rounds, for others only add."""
    best = 0
    for _ in range(_ROUNDS):
        begun = time.perf_counter_ns()
        for _ in range(_EVALUATIONS):
            matcher(request)
        took = time.perf_counter_ns() - begun
        best = took if not best else min(best, took)
    return best / _EVALUATIONS / 1000


def main() -> int:
    """Measure, and print a table."""
    request = parse_request(_HEAD, 100, 8192)
    request.unit = b"alice"
    field = microseconds(compile_matcher(FIELD, {}), request)
    print("| matcher | µs | times the matcher of a field |")
    print("|---|---|---|")
    print(f"| `{{header: x-plan, is: pro}}` | {field:.2f} | 1 |")
    for text in EXPRESSIONS:
        took = microseconds(Expression(text, check(text)).matches, request)
        print(f"| `{text}` | {took:.1f} | {took / field:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
