"""What every answer of the console carries, so that a page of it can neither load nor be loaded by anything else."""

from collections.abc import Mapping

_POLICY = {
    "default-src": "'self'",
    # WebAssembly decodes HTJ2K; no script is compiled from text, and none stands in a page.
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' blob: data:",
    "media-src": "blob:",
    "frame-src": "blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}

_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    # The address of a study's page stands in no other server's log.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=()",
    "Server": "mpacs",
}

_HSTS = "max-age=31536000"


def security_headers(is_own_authority: bool, origin: str) -> Mapping[str, str]:
    """Headers of every answer, WebSocket handshakes and errors included.

    Strict-Transport-Security (RFC 6797) holds for all ports of a host, and makes a certificate's fault final. So it is
    sent only where the hospital vouches for the certificate and the console has the host's standard port.
    """
    has_the_host = origin.count(":") == 1
    return {**_HEADERS, **({"Strict-Transport-Security": _HSTS} if has_the_host and not is_own_authority else {})}
