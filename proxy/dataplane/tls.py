"""TLS towards clients: certificates by SNI, swapped while connections live."""

import ssl
from typing import Final

from proxy.core.plan import Spec

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(certificate: str, key: str, minimum: str) -> ssl.SSLContext:
    """A context for one certificate. Raises OSError or ssl.SSLError where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[minimum]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


class Terminator:
    """The certificates of one listener. `context` stays the same object for as long as it listens."""

    def __init__(self, spec: Spec) -> None:
        self._exact: dict[str, ssl.SSLContext] = {}
        self._wild: dict[str, ssl.SSLContext] = {}
        self._loaded: dict[str, ssl.SSLContext] = {}
        first = spec["certificates"][0]
        self.context: Final = server_context(first["certificate"], first["key"], spec["minimum"])
        self.context.sni_callback = self._choose
        self._default: ssl.SSLContext = self.context
        self.update(spec)

    def update(self, spec: Spec) -> None:
        """Take new certificates for the handshakes to come; what did not change is not read again.

        Raises OSError or ssl.SSLError, and then nothing has changed.
        """
        minimum = spec["minimum"]
        loaded: dict[str, ssl.SSLContext] = {}
        exact: dict[str, ssl.SSLContext] = {}
        wild: dict[str, ssl.SSLContext] = {}
        default: ssl.SSLContext | None = None
        for one in spec["certificates"]:
            stamp = f"{one['certificate']}\0{one['key']}\0{one['stamp']}\0{minimum}"
            context = self._loaded.get(stamp) or server_context(one["certificate"], one["key"], minimum)
            loaded[stamp] = context
            default = default or context
            for host in one["hosts"]:
                if host.startswith("*."):
                    wild[host[2:].lower()] = context
                else:
                    exact[host.lower()] = context
        self._loaded, self._exact, self._wild = loaded, exact, wild
        self._default = default or self.context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        chosen = self._default
        if name is not None:
            lowered = name.lower()
            chosen = self._exact.get(lowered) or self._wild.get(lowered.partition(".")[2]) or chosen
        connection.context = chosen
