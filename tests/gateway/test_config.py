"""gateway.yaml: the commented file is the defaults, and whatever is wrong is named by its key."""

from pathlib import Path

import msgspec
import pytest
import yaml

from gateway import config
from gateway.config import Config, ConfigError
from gateway.config_check import is_address

SAMPLE = Path(__file__).parents[2] / "configs" / "gateway.yaml"


def test_the_commented_file_is_the_defaults_and_names_every_setting() -> None:
    loaded = config.parse(SAMPLE.read_bytes(), "sample")
    assert loaded == Config(site="site")
    written = yaml.safe_load(SAMPLE.read_text())
    assert _keys(written) == _keys(msgspec.to_builtins(Config(site="site")))
    for line in SAMPLE.read_text().splitlines():
        if line and not line.startswith("#"):
            key = line.split("#")[0].strip()
            assert key.endswith(":") or "#" in line or key.startswith("site"), f"no comment: {line}"


def _keys(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {name for key, inner in value.items() for name in _keys(inner, f"{prefix}.{key}")}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("site: A_B", "site is"),
        ("{}", "site"),
        ("site: a\nhots: b", "hots"),
        ("site: a\ndicom: {aet: ''}", "dicom.aet"),
        ("site: a\ndicom: {aet: 한국}", "dicom.aet: an AE title"),
        ("site: a\ndicom: {allow_calling: [CT1, 한국]}", "dicom.allow_calling: an AE title"),
        ("site: a\npacs: [{name: a, aet: 한국, host: h, port: 1}]", "pacs a.aet: an AE title"),
        ("site: a\npacs: [{name: a, aet: A, host: h, port: 1, calling: 'a\\b'}]", "pacs a.calling: an AE title"),
        ("site: a\ndicom: {aet: 12345678901234567}", "dicom.aet"),
        ("site: a\ndicom: {port: 70000}", "dicom.port"),
        ("site: a\npacs: [{name: A}]", "pacs"),
        ("site: a\npacs: [{name: a}]", "pacs a: aet"),
        ("site: a\npacs: [{name: a, aet: A, host: h, port: 1, dicomweb: 'https://h'}]", "pacs a: either"),
        ("site: a\npacs: [{name: a, dicomweb: 'ftp://h'}]", "pacs a.dicomweb"),
        ("site: a\npacs: [{name: a, dicomweb: 'https://h', user: u}]", "password_file"),
        ("site: a\npacs: [{name: a, dicomweb: 'https://h'}, {name: a, dicomweb: 'https://h'}]", "two are named a"),
        ("site: a\nprefetch: {daily: [{at: '25:00', filters: {}}]}", "prefetch.daily"),
        ("site: a\nprefetch: {daily: [{at: '05:00', filters: {}}]}", "at least one keyword"),
        ("site: a\ndicom: {host: example}", "dicom.host"),
        ("site: a\ndicom: {allow_addresses: [10.0.0.1/8]}", "dicom.allow_addresses"),
        ("site: a\nmqtt: {port: 0}", "mqtt.port"),
        ("site: a\nmqtt: {listen: here}", "mqtt.listen"),
        ("site: a\nmqtt: {port: 11112}", "dicom.port and mqtt.port"),
        ("site: a\nhost: 192.0.2.1\nmqtt: {local_port: 1883}", "mqtt.port and mqtt.local_port"),
        ("site: a\nhost: 192.0.2.1\nmqtt: {port: 8442}", "https.port and mqtt.local_port"),
        ("site: a\nhttps: {listen: here}", "https.listen"),
        ("site: a\nhttps: {certificate: /a.pem}", "https.certificate and https.key"),
        ("site: a\nhttps: {key: /a.pem}", "https.certificate and https.key"),
        ("site: a\nhttps: {origin: 'http://a.example'}", "https.origin"),
        ("site: a\nhttps: {origin: 'https://a.example/'}", "https.origin"),
        ("site: a\nhttps: {origin: 'https://A.example'}", "https.origin"),
        ("site: a\nhttps: {origin: 'https://a.example:443'}", "https.origin"),
        ("site: a\nhttps: {origin: 'https://a.example:65536'}", "https.origin"),
        ("site: a\nhttps: {origin: 'https://300.1.1.1'}", "https.origin"),
        ("site: a\nhttps: {connections: 401}", "https.connections"),
        ("site: a\nhttps: {metrics_token: 'a b'}", "https.metrics_token"),
        ("site: a\nhl7: {host: everywhere}", "hl7.host"),
        ("site: a\nhl7: {port: 2575, host: 0.0.0.0}", "hl7.allow_addresses"),
        ("site: a\nhl7: {allow_addresses: [here]}", "hl7.allow_addresses"),
        ("site: a\nhl7: {port: 11112}", "dicom.port and hl7.port"),
        ("site: a\nhl7: {certificate: /a.pem}", "hl7.certificate and hl7.key"),
        ("site: a\nhl7: {client_authority: /a.pem}", "hl7.client_authority"),
        ("site: a\nhl7: {time_zone: Mars/Base}", "hl7.time_zone"),
        ("site: a\nhl7: {time_zone: ../etc}", "hl7.time_zone"),
        ("site: a\nhl7: {issuer: perhaps}", "hl7.issuer"),
        ("site: a\nhost: 0.0.0.0", "host"),
        ("site: a\nhost: '::'", "host"),
        ("site: a\nhost: 224.0.0.1", "host"),
        ("site: a\nhost: fe80::1%eth0", "host"),
        ("site: a\nhost: under_score.example", "host"),
        ("site: a\nhost: 병원.example", "host"),
        ("site: a\nhost: 300.1.1.1", "host"),
        ("site: a\nhost: ''", "host"),
        ("site: a\nhost: " + "a." * 130 + "a", "host"),
        ("site: a\ndelivery: {head_s: .inf}", "delivery.head_s"),
        ("site: a\ndelivery: {head_s: .nan}", "delivery.head_s"),
        ("site: a\ndelivery: {settle_s: -1}", "delivery.settle_s"),
        ("site: a\nwards: {blank_after_s: 29}", "wards.blank_after_s"),
        ("site: a\nwards: {blank_after_s: 60}\ndelivery: {head_ward_s: 31}", "wards.blank_after_s: twice"),
        ("site: a\nrendering: {workers: 0}", "rendering.workers"),
        ("site: a\nrendering: {quality: high}", "rendering.quality"),
        ("site: a\nrendering: {pet: rainbow}", "rendering.pet"),
        ("site: [", "not YAML"),
        ("- a\n- b", "Expected `object`"),
        ("", "object"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode(), "here")
    assert "here" in str(caught.value) and named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    for data in (b"\xff\xfe\x00", b"site: \x00", b"site: a\n\t- b", b"[" * 3000):
        with pytest.raises(ConfigError):
            config.parse(data, "here")


@pytest.mark.parametrize(
    ("host", "tls", "url", "local"),
    [
        ("127.0.0.1", False, "mqtt://127.0.0.1:1883", ("127.0.0.1", 1883)),
        ("localhost", False, "mqtt://localhost:1883", ("127.0.0.1", 1883)),
        ("127.0.0.7", False, "mqtt://127.0.0.7:1883", ("127.0.0.7", 1883)),
        ("::1", False, "mqtt://[::1]:1883", ("::1", 1883)),
        ("192.0.2.1", True, "mqtts://192.0.2.1:1883", ("127.0.0.1", 1884)),
        ("2001:db8::1", True, "mqtts://[2001:db8::1]:1883", ("127.0.0.1", 1884)),
        ("gateway.hospital.example", True, "mqtts://gateway.hospital.example:1883", ("127.0.0.1", 1884)),
    ],
)
def test_addresses_that_follow_from_host(host: str, tls: bool, url: str, local: tuple[str, int]) -> None:
    loaded = config.parse(f"site: a\nhost: '{host}'".encode(), "here")
    assert (loaded.tls, loaded.broker_url, (loaded.local_host, loaded.local_port)) == (tls, url, local)
    if tls:
        assert loaded.listen_host == (host if is_address(host) else "0.0.0.0")


def test_the_last_port_has_a_local_neighbour_too() -> None:
    loaded = config.parse(b"site: a\nhost: 192.0.2.1\nmqtt: {port: 65535}", "here")
    assert loaded.local_port == 65534
