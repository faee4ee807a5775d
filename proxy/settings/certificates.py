"""Certificates named by a configuration: do they exist, do they fit together, and what do they hold.

The data plane loads the files itself; here they are tried, so that a bad one is an error in the file and not in a
worker, and stamped, so that a renewed certificate makes a new plan although no word of the configuration changed.
"""

import hashlib
import ssl
from pathlib import Path
from typing import Final


class CertificateReader:
    """Reads files named in a configuration that stands in `base`. `files` are those it looked at, there or not."""

    def __init__(self, base: Path) -> None:
        self._base: Final = base
        self.files: Final[dict[Path, None]] = {}

    def path(self, name: str) -> str:
        """The file a name means."""
        return str(self._base / name)

    def stamp(self, *names: str | None) -> str:
        """A digest of what the files hold; a file that cannot be read counts as empty."""
        digest = hashlib.sha256()
        for name in names:
            if name is not None:
                try:
                    content = self._read(name)
                except ValueError:
                    content = b""
                digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()

    def problem(self, name: str) -> str | None:
        """Why the file cannot be read; None when it can."""
        try:
            self._read(name)
        except ValueError as error:
            return str(error)
        return None

    def pair_problem(self, certificate: str, key: str) -> str | None:
        """Why two readable files are no certificate and its key; None when they are."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password at hand OpenSSL would ask on the terminal.
            context.load_cert_chain(self.path(certificate), self.path(key), password=lambda: b"")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                return f"the key in {key} does not belong to the certificate"
            return f"is not a PEM certificate with the key in {key} (which must not be encrypted)"
        except (OSError, ValueError) as error:
            return f"cannot be loaded: {error}"
        return None

    def authorities_problem(self, name: str) -> str | None:
        """Why a readable file holds no authorities; None when it does."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.path(name))
        except (ssl.SSLError, OSError):
            return "holds no PEM certificates"
        return None

    def _read(self, name: str) -> bytes:
        path = self._base / name
        self.files[path] = None
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
