"""The server side of OFREP 0.3.0 (OpenFeature Remote Evaluation Protocol), an aiohttp application."""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b, sha256
from typing import Any, Final

from aiohttp import web

from proxy.flags.context import PARSE_ERROR, ContextError, know_better, read_context, request_of
from proxy.flags.service import FlagService
from proxy.settings.models.flags import Ofrep

log = logging.getLogger("tidegate.flags")

FLAGS: Final = "/ofrep/v1/evaluate/flags"
EVENTS: Final = "/ofrep/v1/events"
HEARTBEAT: Final = 15.0
"""Seconds between two signs of life on a stream."""
INACTIVITY: Final = 120
"""Seconds after which a client that is not looked at lets go of its stream."""
BODY_LIMIT: Final = 10.0
"""Seconds for the body of a request, once its head is there."""
_WRITING: Final = 10.0  # seconds that a client may take for an event
_SHOWN: Final = 128

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OfrepServer:
    """The paths of the protocol over a `FlagService`."""

    def __init__(self, service: FlagService, settings: Ofrep) -> None:
        self._service: Final = service
        self._settings: Final = settings
        self._digests: Final = [sha256(token.encode()).digest() for token in settings.tokens]
        self._tickets: Final = [ticket_of(token) for token in settings.tokens]
        self._origins: Final = frozenset(settings.origins)
        self._closing: Final = asyncio.Event()

    def application(self) -> web.Application:
        """The application."""
        application = web.Application(middlewares=[self._guard], client_max_size=self._settings.max_body)
        for path, handler in ((FLAGS, self._bulk), (FLAGS + "/{key}", self._single)):
            application.router.add_post(path, handler)
            application.router.add_post(path + "/", handler)
        application.router.add_get(EVENTS, self._events)
        application.on_response_prepare.append(self._share)
        application.on_shutdown.append(self._shut)
        return application

    # Who may.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = {"_single": "single", "_bulk": "bulk", "_events": "events"}.get(
            getattr(handler, "__name__", ""), "other"
        )
        response: web.StreamResponse
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = web.Response(status=204)
            kind = "preflight"
        elif not self._may(request):
            response = _failure(401, "a token is asked for: Authorization: Bearer TOKEN, or X-API-Key: TOKEN")
            response.headers["WWW-Authenticate"] = "Bearer"
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _failure(error.status, _said(error))
                if "Allow" in error.headers:
                    response.headers["Allow"] = error.headers["Allow"]
            except (KeyError, ValueError, TypeError, RecursionError) as error:
                log.error("a flag could not be evaluated", exc_info=error)
                response = _failure(500, "the flag could not be evaluated")
            except asyncio.CancelledError:  # the client is gone
                self._count(kind, 200 if kind == "events" else 499)
                raise
        self._count(kind, response.status)
        return response

    def _count(self, kind: str, status: int) -> None:
        requests = self._service.facts.requests
        requests[kind, status] = requests.get((kind, status), 0) + 1

    def _may(self, request: web.Request) -> bool:
        if not self._digests:
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = [request.headers.get("X-API-Key", "")]
        if scheme.lower() == "bearer":
            given.append(token.strip())
        found = False
        for one in given:
            digest = sha256(one.encode("utf-8", "surrogateescape")).digest()
            for known in self._digests:
                found |= hmac.compare_digest(digest, known)
        if request.path == EVENTS:
            ticket = request.query.get("ticket", "").encode()
            for own in self._tickets:
                found |= hmac.compare_digest(ticket, own.encode())
        return found

    async def _share(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let pages of the origins allowed read the answer."""
        headers = response.headers
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Content-Type-Options"] = "nosniff"
        if not self._origins:
            return
        headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin is None or not ("*" in self._origins or origin in self._origins):
            return
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "ETag, Retry-After"
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "POST, GET, OPTIONS"
            headers["Access-Control-Allow-Headers"] = (
                "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-API-Key"
            )
            headers["Access-Control-Max-Age"] = "600"

    # Flags.

    async def _single(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        service = self._service
        service.look()
        try:
            asked = self._asked(request, await _body(request))
        except ContextError as error:
            return _answer(400, {"key": key, "errorCode": error.code, "errorDetails": str(error)})
        if not service.has(key):
            told = key[:_SHOWN]
            return _answer(
                404, {"key": told, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"there is no flag {told!r}"}
            )
        answer = service.one(key, asked)
        return _answer(400 if "errorCode" in answer else 200, answer)

    async def _bulk(self, request: web.Request) -> web.Response:
        service = self._service
        service.look()
        try:
            asked = self._asked(request, await _body(request))
        except ContextError as error:
            return _answer(400, {"errorCode": error.code, "errorDetails": str(error)})
        flags = service.every(asked)
        tag = service.tag(asked, flags)
        if tag in _tags(request.headers.get("If-None-Match", "")):
            return web.Response(status=304, headers={"ETag": tag})
        answer: dict[str, Any] = {"flags": flags, "metadata": {"version": service.revision}}
        if self._settings.streams:
            ticket = f"?ticket={self._tickets[0]}" if self._tickets else ""
            answer["eventStreams"] = [
                {"type": "sse", "endpoint": {"requestUri": EVENTS + ticket}, "inactivityDelaySec": INACTIVITY}
            ]
        response = _answer(200, answer)
        response.headers["ETag"] = tag
        return response

    def _asked(self, request: web.Request, body: bytes) -> Any:
        fields: dict[bytes, bytes] = {}
        for name, value in request.raw_headers:
            lower = name.lower()
            joint = b"; " if lower == b"cookie" else b", "
            fields[lower] = fields[lower] + joint + value if lower in fields else value
        service = self._service
        context = read_context(body)
        asked = request_of(context, fields, request.remote or "", service.trusted, service.clock())
        service.identity.identify(asked, self._digests)
        know_better(asked, self._settings.known)
        return asked

    # Changes.

    async def _events(self, request: web.Request) -> web.StreamResponse:
        service = self._service
        facts = service.facts
        if facts.streams >= self._settings.streams:
            response = _failure(429, "too many streams are open")
            response.headers["Retry-After"] = "30"
            return response
        service.look()
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        facts.streams += 1
        try:
            await stream.prepare(request)
            seen = request.headers.get("Last-Event-ID", service.revision)
            await _write(stream, b": flags\n\n")
            while not self._closing.is_set():
                if seen != service.revision:
                    seen = service.revision
                    await _write(stream, _event(seen, service.since))
                elif not await self._wait(service.changed):
                    await _write(stream, b": flags\n\n")
        except (ConnectionError, TimeoutError):
            log.debug("a stream of events ended")
        finally:
            facts.streams -= 1
        return stream

    async def _wait(self, changed: asyncio.Event) -> bool:
        """Whether something changed, or all is over, before it is time for a sign of life."""
        waiting = [asyncio.ensure_future(one.wait()) for one in (changed, self._closing)]
        try:
            done, _ = await asyncio.wait(waiting, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return bool(done)

    async def _shut(self, _: web.Application) -> None:
        self._closing.set()


def ticket_of(token: str) -> str:
    """What opens the stream of events, for browsers' streams cannot carry a field; it opens nothing else."""
    key = token.encode()
    return blake2b(b"events", digest_size=16, key=key if len(key) <= 64 else sha256(key).digest()).hexdigest()


def _event(revision: str, since: float) -> bytes:
    data = json.dumps({"type": "refetchEvaluation", "etag": revision, "lastModified": int(since)})
    return f"id: {revision}\nevent: message\ndata: {data}\n\n".encode()


async def _body(request: web.Request) -> bytes:
    """The body. Raises ContextError for one that cannot be read, and HTTPRequestTimeout."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ContextError(PARSE_ERROR, "the body must not be compressed")
    try:
        async with asyncio.timeout(BODY_LIMIT):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError as error:
        raise ContextError(PARSE_ERROR, "the body is not framed as HTTP wants it") from error


async def _write(stream: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_WRITING):
        await stream.write(data)


def _tags(value: str) -> list[str]:
    """The tags of If-None-Match, quoted, also where they came weak or bare."""
    tags = [one.strip().removeprefix("W/") for one in value.split(",")]
    return [one if one.startswith('"') else f'"{one}"' for one in tags if one]


def _answer(status: int, values: Any) -> web.Response:
    return web.Response(status=status, text=json.dumps(values), content_type="application/json")


def _failure(status: int, message: str) -> web.Response:
    return _answer(status, {"errorDetails": message})


def _said(error: web.HTTPException) -> str:
    return {
        404: "there is no such path",
        405: "the method is not for this path",
        408: "the body did not come in time",
        413: "the body is too large",
    }.get(error.status, error.reason)
