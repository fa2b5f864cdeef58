"""Vectors that need no cryptography: names, topics, the access rule, CBOR, bitmaps."""

from typing import Any

from tests.vectors.cases import Test, fails, finished, valid
from tests.vectors.fixed import SITE, digest, ref

WARD, PATIENT, DEVICE, OBJECT = ref("ward"), ref("patient"), ref("device"), ref("object")


def names() -> dict[str, Any]:
    """names.json."""
    tests: list[Test] = [
        valid("a site of one character", "check_site", text="a"),
        valid("a site of 32 characters", "check_site", text="a" * 32),
        valid("a site with an inner hyphen", "check_site", text="st-mary-2"),
    ]
    for reason, text in {
        "an empty site": "",
        "a site of 33 characters": "a" * 33,
        "a site that begins with a hyphen": "-a",
        "a site that ends with a hyphen": "a-",
        "a site in capitals": "Ward",
        "a site with a slash": "a/b",
        "a site with a wildcard": "a+",
        "a site with a dot": "a.b",
        "a site in letters that are not a to z": "spitäl",
        "a site with a line feed at its end": "abc\n",
        "a site in full-width digits": "１２",
    }.items():
        tests.append(fails("name-invalid", reason, "check_site", text=text))
    tests += [valid(f"the kind {kind}", "check_kind", text=kind) for kind in ("patient", "doctor", "ward")]
    tests += [
        fails("name-invalid", "a kind in capitals", "check_kind", text="Ward"),
        fails("name-invalid", "a kind that is none", "check_kind", text="nurse"),
        valid("sixteen zero bytes", "encode_reference", raw_hex="00" * 16),
        valid("sixteen bytes of 255", "encode_reference", raw_hex="ff" * 16),
        fails("name-invalid", "fifteen bytes", "encode_reference", raw_hex="00" * 15),
        fails("name-invalid", "seventeen bytes", "encode_reference", raw_hex="00" * 17),
        valid("a reference", "decode_reference", text=WARD),
    ]
    for reason, text in {
        "an empty reference": "",
        "a reference of 25 characters": WARD[:25],
        "a reference of 27 characters": WARD + "a",
        "a reference in capitals": WARD.upper(),
        "a reference with padding": WARD[:20] + "======",
        "a reference with a digit that base32 has not": "1" + WARD[1:],
        "a reference whose unused bits are not zero": "a" * 25 + "b",
        "a reference with a line feed at its end": WARD[:25] + "\n",
    }.items():
        tests.append(fails("name-invalid", reason, "decode_reference", text=text))
    for text in ("0", "7", "999999999"):
        tests.append(valid(f"the integer {text}", "parse_decimal", text=text))
    for reason, text in {
        "an integer that is empty": "",
        "an integer with a leading zero": "07",
        "an integer of ten digits": "1000000000",
        "an integer with a plus": "+7",
        "an integer with a minus": "-7",
        "an integer with a blank": " 7",
        "an integer with an underscore": "1_0",
        "an integer in Arabic-Indic digits": "٣",
        "an integer with a line feed at its end": "7\n",
        "an integer in hexadecimal": "a",
    }.items():
        tests.append(fails("name-invalid", reason, "parse_decimal", text=text))
    key = digest("reference key").hex()
    for reason, kind, identifier, issuer in (
        ("a patient's reference", "patient", "12345", ""),
        ("the same identifier as a doctor's", "doctor", "12345", ""),
        ("the same identifier of an issuer", "patient", "12345", "A"),
        ("an identifier that ends where the issuer began", "patient", "2345", "1"),
        ("an identifier in Korean", "patient", "환자-1", ""),
    ):
        tests.append(valid(reason, "recipient_reference", key_hex=key, kind=kind, identifier=identifier, issuer=issuer))
    tests.append(
        fails(
            "name-invalid",
            "a reference key of 31 bytes",
            "recipient_reference",
            key_hex=key[2:],
            kind="patient",
            identifier="1",
            issuer="",
        )
    )
    return finished("Sites, kinds, references, integers in topics, and the keyed hash that hides a recipient.", tests)


def topics() -> dict[str, Any]:
    """topics.json."""
    tests: list[Test] = []
    whose = [SITE, "ward", WARD]
    for name, arguments in {
        "site_root": [SITE],
        "head": whose,
        "keys": whose,
        "study": [*whose, ref("study")],
        "object_root": [*whose, OBJECT],
        "segment": [*whose, OBJECT, 17],
        "page": [*whose, OBJECT, 0],
        "device_request": [SITE, DEVICE],
        "device_response": [SITE, DEVICE],
        "device_status": [SITE, DEVICE],
        "gateway_status": [SITE, ref("gateway")],
        "gateway_keys": [SITE],
        "enrol_request": [SITE, ref("enrolment")],
        "enrol_response": [SITE, ref("enrolment")],
    }.items():
        tests.append(valid(f"the topic {name}", "build_topic", name=name, arguments=arguments))
    tests += [
        fails("name-invalid", "a topic of no site", "build_topic", name="head", arguments=["A/B", "ward", WARD]),
        fails("name-invalid", "a topic of no kind", "build_topic", name="head", arguments=[SITE, "+", WARD]),
        fails("name-invalid", "a topic of no recipient", "build_topic", name="head", arguments=[SITE, "ward", "#"]),
    ]
    root = f"mpacs/1/{SITE}/ward/{WARD}"
    for reason, rest in {"segment 0": "0", "segment 4711": "4711", "page 0": "m0", "page 255": "m255"}.items():
        tests.append(valid(reason, "parse_object_topic", root=root, topic=f"{root}/object/{OBJECT}/{rest}"))
    for reason, topic in {
        "a head is no object": f"{root}/head",
        "an object of another tree": f"mpacs/1/{SITE}/ward/{PATIENT}/object/{OBJECT}/0",
        "an object without a part": f"{root}/object/{OBJECT}",
        "an object with a part too many": f"{root}/object/{OBJECT}/0/0",
        "an object with an empty part": f"{root}/object/{OBJECT}/",
        "an object whose id is none": f"{root}/object/{OBJECT[:-1]}/0",
        "a segment with a leading zero": f"{root}/object/{OBJECT}/00",
        "a page without a number": f"{root}/object/{OBJECT}/m",
        "a page in capitals": f"{root}/object/{OBJECT}/M0",
        "a page of a page": f"{root}/object/{OBJECT}/mm0",
    }.items():
        tests.append(fails("topic-invalid", reason, "parse_object_topic", root=root, topic=topic))
    device = f"mpacs/1/{SITE}/device/{DEVICE}"
    tests.append(valid("a device's request", "parse_device_topic", site=SITE, topic=f"{device}/request"))
    for reason, topic in {
        "a device's tree without a rest": device,
        "a device's tree with an empty rest": f"{device}/",
        "a device of another site": f"mpacs/1/other/device/{DEVICE}/request",
        "a device whose reference is none": f"mpacs/1/{SITE}/device/x/request",
    }.items():
        tests.append(fails("topic-invalid", reason, "parse_device_topic", site=SITE, topic=topic))
    for reason, text in {
        "a plain topic": "a/b",
        "an empty topic": "",
        "a topic of empty levels": "//",
        "a topic with a wildcard": "a/+",
        "a topic with NUL": "a\0b",
        "a topic with a control character": "a\x1fb",
        "a topic with U+FFFF": "a\uffffb",
        "a topic with U+FDD0": "a\ufdd0b",
        "a topic of 512 bytes": "a" * 512,
        "a topic of 513 bytes": "a" * 513,
        "a topic of 257 characters and 514 bytes": "é" * 257,
    }.items():
        tests.append(valid(reason, "is_topic", text=text))
    for reason, text in {
        "the filter #": "#",
        "a filter that ends in #": "a/#",
        "a filter with # in the middle": "a/#/b",
        "a filter with # beside a letter": "a/b#",
        "a filter of plusses": "+/+",
        "a filter with + beside a letter": "a/b+",
    }.items():
        tests.append(valid(reason, "is_filter", text=text))
    for allowed, requested in (
        ("a/#", "a/#"), ("a/#", "a"), ("a/#", "a/+"), ("a/#", "a/b/c"), ("a/+", "a/#"), ("a/+", "a/+"), ("a/+", "a/b"),
        ("a/+", "a"), ("a/b", "a/+"), ("a/+/#", "a/#"), ("+/#", "#"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("#", "+/x"),
        ("a", "a/b"), ("a/b", "a"), ("a/+/c", "a/b/c"), ("a/+/c", "a/+/d"), ("ab/#", "a/b"), ("a/#", "ab"),
    ):  # fmt: skip
        tests.append(valid(f"does {allowed} include {requested}", "includes", allowed=allowed, requested=requested))
    tests.append(valid("a filter matches the parent of its #", "matches", filter="a/#", topic="a"))
    return finished("Topics: building, reading, legality, and whether one filter includes another.", tests)


def access() -> dict[str, Any]:
    """access.json."""
    device = {"site": SITE, "role": "device", "name": DEVICE, "recipients": [["ward", WARD], ["patient", PATIENT]]}
    gateway = {"site": SITE, "role": "gateway", "name": ref("gateway"), "recipients": []}
    enrol = {"site": SITE, "role": "enrol", "name": ref("enrolment"), "recipients": []}
    base, other = f"mpacs/1/{SITE}", ref("other")
    own, ward = f"{base}/device/{DEVICE}", f"{base}/ward/{WARD}"
    subscribe = {
        "its ward's head": f"{ward}/head", "all of its ward's tree": f"{ward}/#",
        "an object of its ward": f"{ward}/object/{OBJECT}/+", "its patient's keys": f"{base}/patient/{PATIENT}/keys",
        "its own answers": f"{own}/response", "all gateways' status": f"{base}/gateway/+/status",
        "the key set": f"{base}/gateway/keys", "another ward": f"{base}/ward/{other}/head",
        "all wards": f"{base}/ward/+/head", "its ward's reference as a patient": f"{base}/patient/{WARD}/head",
        "its own requests": f"{own}/request", "its own tree": f"{own}/#", "another device's answers":
        f"{base}/device/{other}/response", "all devices' answers": f"{base}/device/+/response",
        "everything": "#", "everything of the site": f"{base}/#", "a wildcard in the place of the root":
        f"+/1/{SITE}/ward/{WARD}/head", "an enrolment": f"{base}/enrol/{ref('enrolment')}/response",
        "the broker's own topics": "$SYS/#", "another site": f"mpacs/1/other/ward/{WARD}/head",
        "all of the gateways": f"{base}/gateway/#", "an illegal filter": f"{ward}/#/head",
        "its ward's tree behind $share": f"$share/group/{ward}/#",
    }  # fmt: skip
    publish = {
        "a request": f"{own}/request", "its status": f"{own}/status", "a segment of an upload":
        f"{own}/object/{OBJECT}/0", "a page of an upload": f"{own}/object/{OBJECT}/m0", "an upload too deep":
        f"{own}/object/{OBJECT}/0/0", "its own answer": f"{own}/response", "its ward's head": f"{ward}/head",
        "a segment for its ward": f"{ward}/object/{OBJECT}/0", "another device's request":
        f"{base}/device/{other}/request", "a gateway's status": f"{base}/gateway/{ref('gateway')}/status",
        "a key set": f"{base}/gateway/keys", "a wildcard": f"{own}/+", "a topic with NUL": f"{own}/request\0",
    }  # fmt: skip
    tests = [valid(f"may a device subscribe to {what}", "may_subscribe", **device, filter=filter_)
             for what, filter_ in subscribe.items()]  # fmt: skip
    tests += [valid(f"may a device publish {what}", "may_publish", **device, topic=topic)
              for what, topic in publish.items()]  # fmt: skip
    tests += [
        valid("may a device receive its ward's segment", "may_receive", **device, topic=f"{ward}/object/{OBJECT}/9"),
        valid("may a device receive a retained head of another", "may_receive",
              **device, topic=f"{base}/ward/{other}/head"),
        valid("may a gateway publish a head", "may_publish", **gateway, topic=f"{ward}/head"),
        valid("may a gateway subscribe to all requests", "may_subscribe", **gateway, filter=f"{base}/device/+/request"),
        valid("may a gateway subscribe to another site", "may_subscribe", **gateway, filter="mpacs/1/other/#"),
        valid("may a gateway subscribe to everything", "may_subscribe", **gateway, filter="mpacs/#"),
        valid("may an enrolment publish its request", "may_publish",
              **enrol, topic=f"{base}/enrol/{ref('enrolment')}/request"),
        valid("may an enrolment publish its answer", "may_publish",
              **enrol, topic=f"{base}/enrol/{ref('enrolment')}/response"),
        valid("may an enrolment hear its answer", "may_subscribe",
              **enrol, filter=f"{base}/enrol/{ref('enrolment')}/response"),
        valid("may an enrolment hear another's", "may_subscribe", **enrol, filter=f"{base}/enrol/{other}/response"),
        valid("may an enrolment read the key set", "may_subscribe", **enrol, filter=f"{base}/gateway/keys"),
    ]  # fmt: skip
    return finished("Who may subscribe to and publish what: the output is the verdict.", tests)


def bits() -> dict[str, Any]:
    """bits.json."""
    tests: list[Test] = [
        valid("nothing of eleven", "bitmap", size=11, bits_hex="0000"),
        valid("first, eighth and last of eleven", "bitmap", size=11, bits_hex="8104"),
        valid("all of eleven", "bitmap", size=11, bits_hex="ff07"),
        valid("all of sixteen", "bitmap", size=16, bits_hex="ffff"),
        fails("malformed", "a bit after the last", "bitmap", size=11, bits_hex="0008"),
        fails("malformed", "a byte too few", "bitmap", size=11, bits_hex="00"),
        fails("malformed", "a byte too many", "bitmap", size=11, bits_hex="000000"),
        valid("indices as ranges", "to_ranges", indices=[0, 1, 2, 5, 7, 8]),
        valid("no indices", "to_ranges", indices=[]),
    ]
    return finished("The bitmap that a device keeps, and ranges.", tests)
