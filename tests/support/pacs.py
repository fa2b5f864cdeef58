"""Real PACS on free loopback ports: Orthanc with DICOMweb, and DCMTK's dcmqrscp.

with Orthanc(tmp_path / "orthanc", [Modality("MPACS", 11112)]) as pacs:
    pacs.store(files)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.broker_process import free_port, wait_until

START_S = 40.0
_PLUGINS = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# Debian's builds leave Nagle on where they may: then they look slower than they are.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True)
class Modality:
    """Whom a PACS knows: AE title and port on loopback."""

    aet: str
    port: int


@dataclass
class Tls:
    """Files of one party: its certificate and key, and whom it trusts."""

    certificate: Path
    key: Path
    authority: Path


class _Peer:
    """A process whose log is a file, started and killed as often as a test wants."""

    folder: Path
    port: int
    aet: str
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """All that it wrote until now, over all starts."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, env=_ENVIRONMENT, start_new_session=True, cwd=self.folder
            )
        wait_until(self._is_up, START_S, f"{self.aet} is up: {self.log[-2000:]}")

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log[-3000:]
        return self.is_up()

    def kill(self) -> None:
        """SIGKILL to it and its children, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_up(self) -> bool:
        raise NotImplementedError

    def store(self, files: Iterable[Path], *options: str) -> None:
        """C-STORE by DCMTK; AssertionError if one is refused."""
        done = subprocess.run(
            [
                "storescu",
                *options,
                "-R",
                "-aec",
                self.aet,
                "127.0.0.1",
                str(self.port),
                *map(str, files),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            env=_ENVIRONMENT,
        )
        assert done.returncode == 0, f"storescu: {done.stdout}{done.stderr}"


class Orthanc(_Peer):
    """Orthanc of Debian; ``more`` goes over its configuration."""

    def __init__(
        self,
        folder: Path,
        modalities: Iterable[Modality],
        tls: Tls | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.aet = folder, "ORTHANC"
        self.port, self.http_port = free_port(), free_port()
        folder.mkdir(parents=True)
        known = {
            one.aet: {"AET": one.aet, "Host": "127.0.0.1", "Port": one.port, "UseDicomTls": tls is not None}
            for one in modalities
        }
        settings: dict[str, Any] = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(_PLUGINS)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "HttpPort": self.http_port,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": known,
            "DefaultEncoding": "Utf8",
            "TcpNoDelay": True,
            "HttpVerbose": False,
            "StorageCommitmentReportsSize": 100,
            "OverwriteInstances": False,
            "StableAge": 1,
        }
        if tls is not None:
            settings |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(tls.certificate),
                "DicomTlsPrivateKey": str(tls.key),
                "DicomTlsTrustedCertificates": str(tls.authority),
                "DicomTlsRemoteCertificateRequired": True,
            }
        (folder / "orthanc.json").write_text(json.dumps({**settings, **(more or {})}))

    def command(self) -> list[str]:
        program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "Orthanc is not installed"
        return [program, "--verbose", str(self.folder / "orthanc.json")]

    def is_up(self) -> bool:
        with contextlib.suppress(OSError):
            self.rest("/system")
            return True
        return False

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def rest(self, path: str, data: bytes | None = None, method: str = "") -> Any:
        """Orthanc's own REST, with which a test looks behind the scenes. Raises URLError."""
        kind = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data, method=kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def rest_bytes(self, path: str) -> bytes:
        """The same, of what is no JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def put(self, files: Iterable[Path]) -> None:
        """Files into it, by REST: in any transfer syntax."""
        for path in files:
            self.rest("/instances", path.read_bytes())


@dataclass
class Qrscp(_Peer):
    """DCMTK's dcmqrscp with one storage area. It has no TLS."""

    folder: Path
    modalities: list[Modality]
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    aet: str = "QRSCP"
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        (self.folder / "area").mkdir(parents=True)
        hosts = "\n".join(f"m{n} = ({one.aet}, 127.0.0.1, {one.port})" for n, one in enumerate(self.modalities))
        (self.folder / "qrscp.cfg").write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.aet} {self.folder / 'area'} RW (500, 4096mb) ANY\nAETable END\n"
        )

    def command(self) -> list[str]:
        program = shutil.which("dcmqrscp")
        assert program is not None, "dcmqrscp is not installed"
        return [program, "-v", "-c", str(self.folder / "qrscp.cfg"), *self.options]

    def is_up(self) -> bool:
        done = subprocess.run(
            ["echoscu", "-aec", self.aet, "127.0.0.1", str(self.port)],
            capture_output=True,
            timeout=20,
        )
        return done.returncode == 0

    def put(self, files: Iterable[Path]) -> None:
        self.store(files)


def make_tls(folder: Path, *names: str) -> dict[str, Tls]:
    """One authority, and a certificate of it for each name, valid for 127.0.0.1 on both sides."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    now = datetime.datetime.now(datetime.UTC)
    folder.mkdir(parents=True, exist_ok=True)

    def sign(name: str, key: Any, issuer: str, issuer_key: Any, is_authority: bool) -> x509.Certificate:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )

    def write(name: str, key: Any, certificate: x509.Certificate, authority: Path) -> Tls:
        made = Tls(folder / f"{name}.pem", folder / f"{name}.key", authority)
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.TraditionalOpenSSL
        made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return made

    root_key = rsa.generate_private_key(65537, 2048)
    authority = folder / "authority.pem"
    write("authority", root_key, sign("authority", root_key, "authority", root_key, True), authority)
    made = {}
    for name in names:
        key = rsa.generate_private_key(65537, 2048)
        made[name] = write(name, key, sign(name, key, "authority", root_key, False), authority)
    return made


class Proxy(_Peer):
    """nginx with TLS in front of an Orthanc's DICOMweb, as hospitals have it.

    Native HTTPS of Debian's Orthanc ends it at the first request.
    """

    def __init__(self, folder: Path, orthanc: Orthanc, tls: Tls, authorization: str) -> None:
        self.folder, self.aet, self.port = folder, "nginx", free_port()
        folder.mkdir(parents=True)
        # The header's value is compared by nginx itself: what our client really sent.
        (folder / "nginx.conf").write_text(f"""
            daemon off; pid {folder}/nginx.pid; error_log stderr info;
            events {{ worker_connections 64; }}
            http {{
                access_log {folder}/access.log;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
                uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 0;
                server {{
                    listen 127.0.0.1:{self.port} ssl;
                    ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};
                    ssl_client_certificate {tls.authority}; ssl_verify_client on;
                    location / {{
                        if ($http_authorization != "{authorization}") {{ return 401; }}
                        proxy_pass http://127.0.0.1:{orthanc.http_port};
                        proxy_buffering off;
                    }}
                }}
            }}""")

    def command(self) -> list[str]:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "nginx is not installed"
        return [program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def is_up(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    @property
    def dicomweb(self) -> str:
        return f"https://127.0.0.1:{self.port}/dicom-web"


@contextlib.contextmanager
def stocked(folder: Path, files: Sequence[Path]) -> Iterator[dict[str, Orthanc | Qrscp]]:
    """Both kinds of PACS, with the same files."""
    with Orthanc(folder / "orthanc", [Modality("MPACS", 1)]) as orthanc, Qrscp(folder / "qrscp", []) as qrscp:
        orthanc.put(files)
        qrscp.put(files)
        yield {"orthanc": orthanc, "qrscp": qrscp}
