"""Who lies where, with real processes: two wards' devices, and a patient who moves."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hl7.client import MLLPClient

from benchmarks.studies import HONG, long_ct
from gateway.middleware.adt.listener import END, START
from tests.gateway.test_adt_message import message
from tests.support.broker_process import free_port
from tests.support.certificates import self_signed
from tests.support.devices import RunningDevice
from tests.support.gateway_devices import WireDevice, attributes_of
from tests.support.gateways import RunningGateway

SLICES = 4


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway that hears HL7, with a doctor who attends everybody."""
    settings = {"hl7": {"port": free_port(), "time_zone": "Asia/Seoul"}}
    with RunningGateway(tmp_path / "gateway", settings=settings) as running:
        running.cli("profile", "add", "doctor", "D1", "--attends", "*")
        yield running


@pytest.fixture
def wards(gateway: RunningGateway, tmp_path: Path) -> Iterator[dict[str, WireDevice]]:
    """A display in each of two wards, and a study of somebody who lies in neither."""
    gateway.store(long_ct(tmp_path, SLICES).files)
    gateway.wait_studies(1)
    found = {}
    for ward in ("W3", "W5"):
        gateway.cli("profile", "add", "ward", ward)
        found[ward] = WireDevice.enrol(gateway.mqtt_port, gateway.cli("invite", f"ward:{ward}", json=True)["uri"])
        found[ward].connect()
    yield found
    for device in found.values():
        device.stop()


def shows(device: WireDevice, count: int, what: str) -> None:
    device.wait(lambda: device.is_current() and len(device.current()) == count, what)


def test_a_patient_is_admitted_moves_and_leaves(gateway: RunningGateway, wards: dict[str, WireDevice]) -> None:
    third, fifth = wards["W3"], wards["W5"]
    for device in (third, fifth):
        shows(device, 0, "nobody lies here")
    gateway.cli("admit", HONG.identifier, "--ward", "W3", "--bed", "301-2", "--name", HONG.name)
    shows(third, 1, "the admission")
    (told,) = third.current().values()
    assert attributes_of(told)["study"]["00380300"]["Value"] == ["W3^301-2"]
    entry = next(one for one in told.objects if one.layer == "display")
    assert third.fetch(entry)
    assert not fifth.announcements()

    gateway.restart()
    for device in (third, fifth):
        device.wait(lambda device=device: device.mqtt.is_connected, "the broker again")  # type: ignore[misc]
    gateway.cli("transfer", HONG.identifier, "--ward", "W5")
    shows(third, 0, "the patient has left")
    shows(fifth, 1, "the patient has come")
    (told,) = fifth.current().values()
    assert attributes_of(told)["study"]["00380300"]["Value"] == ["W5"]

    gateway.cli("discharge", HONG.identifier)
    shows(fifth, 0, "the discharge")
    assert gateway.studies()[0]["recipients"] == ["doctor:D1"]
    stays = gateway.cli("census", "history", HONG.identifier, json=True)
    assert [(one["ward"], one["bed"]) for one in stays] == [("W3", "301-2"), ("W5", "")]
    assert all(one["ends"] for one in stays)
    assert HONG.identifier not in gateway.log and "Gildong" not in gateway.log


@pytest.mark.long
def test_a_display_that_comes_only_now_and_then_loses_who_has_left(
    gateway: RunningGateway, wards: dict[str, WireDevice], tmp_path: Path
) -> None:
    gateway.cli("admit", HONG.identifier, "--ward", "W3")
    device = RunningDevice(tmp_path / "display", gateway, "ward:W3")
    device.call("run", "--once")
    assert len(device.studies()) == 1
    gateway.cli("transfer", HONG.identifier, "--ward", "W5")
    shows(wards["W3"], 0, "the patient has left")
    device.call("run", "--once")
    assert device.studies() == []


@pytest.mark.long
def test_a_table_of_all_inpatients(gateway: RunningGateway, wards: dict[str, WireDevice], tmp_path: Path) -> None:
    table = tmp_path / "inpatients.csv"
    table.write_text(f"PatientID,PatientName,ward,bed\n{HONG.identifier},{HONG.name},W3,301-2\nX-1,,W9,\nX-2,,,\n")
    done = gateway.run_cli("census", "import", str(table), "--complete", "--json")
    assert done.returncode == 1 and "2 moved, 2 refused" in done.stderr
    outcomes = json.loads(done.stdout)
    assert [(one["line"], one["outcome"]) for one in outcomes] == [
        (2, "moved"),
        (3, "moved"),
        (4, "refused"),
        (0, "refused"),
    ]
    assert "no ward profile" in outcomes[1]["note"] and "name it" in outcomes[2]["note"]
    shows(wards["W3"], 1, "the row")
    table.write_text("PatientID,ward\nX-1,W9\n")
    assert gateway.run_cli("census", "import", str(table), "--complete").stderr.strip() == "1 known, 1 left"
    shows(wards["W3"], 0, "who is not named has left")
    assert [one["PatientID"] for one in gateway.cli("census", "list", json=True)] == ["X-1"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["admit", "P", "--ward", ""], 1, "name it"),
        (["transfer", "P", "--ward", "W3"], 1, "mpacs-gateway admit"),
        (["discharge", "P"], 1, "census list"),
        (["admit", "", "--ward", "W3"], 1, "empty"),
        (["admit", "P"], 2, "--ward"),
        (["admit", "P", "--ward", "W3", "--at", "noon"], 2, "2026-11-24"),
        (["census", "history", ""], 1, "empty"),
    ],
)
def test_a_person_hears_why_not(arguments: list[str], code: int, reason: str, office: RunningGateway) -> None:
    done = office.run_cli(*arguments)
    assert done.returncode == code and reason in done.stderr and not done.stdout


def test_it_is_said_when_no_ward_has_this_name(office: RunningGateway) -> None:
    done = office.run_cli("admit", "P-9^^^HOSPITAL-A", "--ward", "W99")
    assert done.returncode == 0 and "lies in W99" in done.stdout and "no ward profile" in done.stderr
    assert "that was known" in office.cli("admit", "P-9^^^HOSPITAL-A", "--ward", "W99")
    assert "W99" in office.run_cli("census", "list").stderr
    assert office.cli("census", "list", "--at", "2020-01-01T00:00", json=True) == []
    (row,) = office.cli("census", "list", "--ward", "w99", json=True)
    assert (row["PatientID"], row["IssuerOfPatientID"], row["ends"]) == ("P-9", "HOSPITAL-A", None)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    """A state folder alone: the commands work whether the gateway runs or not."""
    made = RunningGateway(tmp_path_factory.mktemp("office") / "state")
    made.init()
    return made


# ── HL7 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def say(gateway: RunningGateway, event: str, number: int, encoding: str = "utf-8", **fields: str) -> str:
    """Send one message about the patient, by the library's client; the code of its acknowledgement."""
    charset = {"utf-8": "UNICODE UTF-8", "euc_kr": "KS X 1001"}[encoding]
    minute = f"2024112400{number:02d}00"
    text = message(event, charset, PID_3=f"{HONG.identifier}^^^HOSP^MR", MSH_10=f"M-{number}", EVN_2=minute, **fields)
    with MLLPClient("127.0.0.1", gateway.settings["hl7"]["port"], encoding=encoding) as client:
        acknowledgement = client.send_message(text).decode()
    assert f"|M-{number}|" in acknowledgement
    return acknowledgement.split("\rMSA|")[1][:2]


def test_messages_move_a_patient_from_ward_to_ward(gateway: RunningGateway, wards: dict[str, WireDevice]) -> None:
    third, fifth = wards["W3"], wards["W5"]
    gateway.wait_healthy()
    assert "hl7" in [part["part"] for part in gateway.cli("status", json=True)]
    assert say(gateway, "A01", 1, "euc_kr", PID_5="홍^길동", PV1_3="W3^301^2") == "AA"
    shows(third, 1, "the admission")
    (told,) = third.current().values()
    assert attributes_of(told)["study"]["00380300"]["Value"] == ["W3^301-2"]

    killed = gateway.kill("intake")  # what was acknowledged is safe, and the sender comes again
    gateway.wait_part("intake", not_pid=killed)
    gateway.wait_healthy()
    assert say(gateway, "A02", 2, PV1_3="W5^502^1") == "AA"
    shows(third, 0, "the patient has left")
    shows(fifth, 1, "the patient has come")
    assert say(gateway, "A01", 1, "euc_kr", PID_5="홍^길동", PV1_3="W3^301^2") == "AA"  # sent again
    assert say(gateway, "A12", 3) == "AA"
    shows(fifth, 0, "the transfer was taken back")
    shows(third, 1, "the patient is here again")
    assert say(gateway, "A03", 4) == "AA"
    shows(third, 0, "the discharge")
    (stay,) = gateway.cli("census", "history", HONG.identifier, json=True)
    assert (stay["ward"], stay["PatientName"]) == ("W3", "Hong^Gildong=洪^吉童=홍^길동")
    for identity in (HONG.identifier, "Gildong", "길동", "W3^", "M-1"):
        assert identity not in gateway.log


def test_messages_that_were_refused_are_an_operator_s(gateway: RunningGateway) -> None:
    assert say(gateway, "A24", 1) == "AE"
    assert say(gateway, "A01", 2, PV1_3="") == "AE"
    assert say(gateway, "A01", 3, PV1_3="W9") == "AA"
    rows = gateway.cli("quarantine", "list", json=True)
    assert {(row["what"], row["reason"]) for row in rows} == {("HL7 message", "ADT^A24"), ("HL7 message", "ADT^A01")}
    merged = next(row for row in rows if row["reason"] == "ADT^A24")
    assert "message" not in gateway.cli("quarantine", "show", merged["id"], json=True)["header"]
    whole = gateway.cli("quarantine", "show", merged["id"], "--identity", json=True)["header"]["message"]
    assert HONG.identifier in whole and "\nPID|" in whole
    done = gateway.run_cli("quarantine", "retry", merged["id"], "--json")
    assert done.returncode == 1 and "links" in json.loads(done.stdout)[0]["why"]
    gateway.cli("quarantine", "drop", "--all", "--yes")
    assert gateway.cli("quarantine", "list", json=True) == []
    assert HONG.identifier not in gateway.log


@pytest.mark.long
def test_a_message_is_taken_when_settings_were_mended(gateway: RunningGateway, wards: dict[str, WireDevice]) -> None:
    shows(wards["W3"], 0, "nobody lies here")
    with MLLPClient("127.0.0.1", gateway.settings["hl7"]["port"], encoding="euc_kr") as client:
        text = message(charset="", PID_3=HONG.identifier, PID_5="홍^길동", EVN_2="20241124000000")
        assert "MSA|AR|" in client.send_message(text).decode()
    (row,) = gateway.cli("quarantine", "list", json=True)
    gateway.configure({"hl7": {"charset": "KS X 1001"}})
    (retried,) = gateway.cli("quarantine", "retry", row["id"], json=True)
    assert retried["outcome"] == "new" and gateway.cli("quarantine", "list", json=True) == []
    shows(wards["W3"], 1, "the admission")


def test_a_sender_loses_nothing_and_doubles_nothing_while_intake_is_killed(gateway: RunningGateway) -> None:
    """It sends again what was not acknowledged, as every sender does; each message counts once."""
    count, kills = 30, iter((7, 19))
    next_kill = next(kills)
    for number in range(count):
        while True:
            try:
                code = say(gateway, "A02" if number else "A01", number, PV1_3=f"W{number % 3}")
            except (OSError, AssertionError, IndexError):  # cut before the answer, or not back yet
                continue
            assert code == "AA"
            if number == next_kill:  # acknowledged: killed, and sent again as if the answer had been lost
                next_kill = next(kills, -1)
                killed = gateway.kill("intake")
                gateway.wait_part("intake", not_pid=killed)
                continue
            break
    stays = gateway.cli("census", "history", HONG.identifier, json=True)
    assert [one["ward"] for one in stays] == [f"W{number % 3}" for number in range(count)]
    moved = [one for one in gateway.cli("audit", "show", json=True) if one["event"] == "patient-moved"]
    assert len(moved) == count and {one["who"] for one in moved} == {"hl7:HIS|SEOUL"}


@pytest.mark.long
def test_over_tls_and_from_known_addresses_alone(tmp_path: Path) -> None:
    for name in ("gateway", "his"):
        self_signed(tmp_path, name)
    port = free_port()
    files = {"certificate": "gateway.pem", "key": "gateway.key", "client_authority": str(tmp_path / "his.pem")}
    settings = {"hl7": {"port": port, "host": "0.0.0.0", "allow_addresses": ["127.0.0.1"], **files}}
    gateway = RunningGateway(tmp_path / "state", settings=settings)
    gateway.init()
    done = gateway.run_cli("run")
    assert done.returncode == 1 and "hl7.certificate" in done.stderr and "Traceback" not in done.stderr
    for name in ("gateway.pem", "gateway.key"):
        (tmp_path / name).rename(gateway.folder / name)
    try:
        assert f"HL7 0.0.0.0:{port}" in gateway.start()
        context = ssl.create_default_context(cafile=str(gateway.folder / "gateway.pem"))
        context.load_cert_chain(tmp_path / "his.pem", tmp_path / "his.key")
        raw = socket.create_connection(("127.0.0.1", port), 20)
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as sender:
            sender.sendall(START + message(PID_3="P-1").encode() + END)
            data = b""
            while not data.endswith(END):
                more = sender.recv(4096)
                assert more, "it was closed"
                data += more
        assert b"MSA|AA|" in data
        (row,) = gateway.cli("census", "list", json=True)
        assert (row["PatientID"], row["ward"]) == ("P-1", "W3")
    finally:
        gateway.stop()
