"""Vectors of signatures, sealing, HPKE, manifests and what is inside an object."""

import hashlib
import zlib
from typing import Any

from tests.vectors.cases import fails, finished, like, valid
from tests.vectors.fixed import SITE, digest, hpke_seal, pattern, point, public, raw, ref, scalar, signer
from wire import envelope, hpke, manifest, objects, seal, sign, topics


def sign_() -> dict[str, Any]:
    """sign.json."""
    topic = topics.head(SITE, "ward", ref("ward"))
    data = sign.sign(signer("gateway"), "head", topic, b"body").hex()
    own = {"trusted_hex": [public("other").hex(), public("gateway").hex()], "label": "head", "topic": topic}
    base = valid("a signed body", "open_signed", **own, data_hex=data)
    empty = sign.sign(signer("gateway"), "head", topic, b"").hex()
    tests = [
        base,
        valid("a signed empty body", "open_signed", **own, data_hex=empty),
        like(base, "malformed", "cut within the overhead", {"data_hex": [["cut", 72]]}),
        like(base, "malformed", "nothing at all", {"data_hex": [["cut", 0]]}),
        like(base, "malformed", "version 0", {"data_hex": [["flip", 0]]}),
        like(base, "signature-invalid", "another key id", {"data_hex": [["flip", 1]]}),
        like(base, "signature-invalid", "the key id of another trusted key",
             {"data_hex": [["put", 1, sign.key_id(public("other")).hex()]]}),
        like(base, "signature-invalid", "R changed", {"data_hex": [["flip", 9]]}),
        like(base, "signature-invalid", "S changed", {"data_hex": [["flip", 41]]}),
        like(base, "signature-invalid", "the signature is zero", {"data_hex": [["put", 9, "00" * 64]]}),
        like(base, "signature-invalid", "the body changed", {"data_hex": [["flip", 73]]}),
        like(base, "signature-invalid", "the body cut", {"data_hex": [["cut", 76]]}),
        like(base, "signature-invalid", "a byte after the body", {"data_hex": [["append", "00"]]}),
        like(base, "signature-invalid", "another topic", topic=topics.head(SITE, "ward", ref("other"))),
        like(base, "signature-invalid", "another label", label="keys"),
        like(base, "signature-invalid", "a key that is not trusted", trusted_hex=[public("other").hex()]),
        like(base, "signature-invalid", "no key is trusted", trusted_hex=[]),
    ]  # fmt: skip
    return finished("Signed bytes: version, key id, Ed25519 signature, body. The output is the body.", tests)


def seal_() -> dict[str, Any]:
    """seal.json."""
    key, context = digest("object key"), envelope.object_context(SITE, raw("object"), "display")
    own = {"key_hex": key.hex(), "context_hex": context.hex()}
    sealed = {size: seal.seal(key, context, pattern(size), digest("salt", str(size))[:24])
              for size in (0, 5, 16383, 16384, 32773, 65541)}  # fmt: skip
    tests = [valid(f"sealing {size} bytes", "seal", **own, salt_hex=sealed[size][:24].hex(),
                   plaintext_hex=pattern(size).hex()) for size in (0, 5)]  # fmt: skip
    small = valid("opening 5 bytes", "open_whole", **own, sealed_hex=sealed[5].hex())
    full = valid("opening 16384 bytes, whose last chunk is empty", "open_whole", **own, sealed_hex=sealed[16384].hex())
    three = valid("opening three chunks", "open_whole", **own, sealed_hex=sealed[32773].hex())
    chunk, first = 16400, 56
    tests += [
        valid("opening nothing", "open_whole", **own, sealed_hex=sealed[0].hex()),
        valid("opening 16383 bytes in one chunk", "open_whole", **own, sealed_hex=sealed[16383].hex()),
        small, full, three,
        like(small, "seal-broken", "nothing", {"sealed_hex": [["cut", 0]]}),
        like(small, "seal-broken", "cut in the salt", {"sealed_hex": [["cut", 23]]}),
        like(small, "seal-broken", "cut after the commitment", {"sealed_hex": [["cut", 56]]}),
        like(small, "seal-broken", "cut in the tag", {"sealed_hex": [["cut", 71]]}),
        like(small, "seal-broken", "cut by its last byte", {"sealed_hex": [["cut", 76]]}),
        like(small, "seal-broken", "salt changed", {"sealed_hex": [["flip", 0]]}),
        like(small, "seal-broken", "commitment changed", {"sealed_hex": [["flip", 24]]}),
        like(small, "seal-broken", "ciphertext changed", {"sealed_hex": [["flip", 56]]}),
        like(small, "seal-broken", "tag changed", {"sealed_hex": [["flip", 61]]}),
        like(small, "seal-broken", "a byte after the end", {"sealed_hex": [["append", "00"]]}),
        like(small, "seal-broken", "another key", key_hex=digest("other key").hex()),
        like(small, "malformed", "a key of 31 bytes", key_hex=key[:31].hex()),
        like(small, "seal-broken", "the context of another layer",
             context_hex=envelope.object_context(SITE, raw("object"), "original").hex()),
        like(small, "seal-broken", "the context of another object",
             context_hex=envelope.object_context(SITE, raw("other"), "display").hex()),
        like(full, "seal-broken", "the empty last chunk is missing", {"sealed_hex": [["cut", first + chunk]]}),
        like(three, "seal-broken", "the last chunk is missing", {"sealed_hex": [["cut", first + 2 * chunk]]}),
        like(three, "seal-broken", "the first chunk twice", {"sealed_hex": [["move", first, first + chunk, chunk]]}),
        like(three, "seal-broken", "the second chunk in the place of the first",
             {"sealed_hex": [["move", first + chunk, first, chunk]]}),
        like(three, "seal-broken", "a chunk of another message",
             {"sealed_hex": [["put", first, sealed[65541][first : first + chunk].hex()]]}),
    ]  # fmt: skip
    message = sealed[65541]
    zero = valid("segment 0 alone", "open_segment", **own, header_hex=message[:56].hex(), index=0,
                 segment_hex=message[:65656].hex())  # fmt: skip
    one = valid("segment 1 alone", "open_segment", **own, header_hex=message[:56].hex(), index=1,
                segment_hex=message[65656:].hex())  # fmt: skip
    tests += [
        zero, one,
        like(one, "seal-broken", "segment 1 as segment 2", index=2),
        like(one, "seal-broken", "segment 1 cut short", {"segment_hex": [["cut", 20]]}),
        like(one, "seal-broken", "segment 1 with a wrong commitment", {"header_hex": [["flip", 30]]}),
    ]  # fmt: skip
    for size in (0, 1, 16383, 16384, 65535, 65536, 65537, 1_000_000, 2**34 - 1):
        tests.append(valid(f"the sizes of {size} bytes", "sizes", size=size))
    for index, size in ((0, 65535), (0, 65536), (1, 65536), (7, 1_000_000)):
        tests.append(valid(f"where segment {index} of {size} bytes lies", "segment_span", index=index, size=size))
    tests.append(fails("malformed", "a segment after the last", "segment_span", index=1, size=65535))
    for start, end in ((0, 1), (0, 65536), (65535, 65537), (65536, 65537), (100_000, 300_000)):
        tests.append(valid(f"the segments of bytes {start} to {end}", "segments_of", start=start, end=end))
    about = "C2SP chunked-encryption (HKDF-SHA512, AES-256-GCM); objects in segments of four chunks; sizes."
    return finished(about, tests)


def hpke_() -> dict[str, Any]:
    """hpke.json."""
    info = hpke.info("epoch", SITE.encode(), b"ward", raw("ward"), raw("device"), (2).to_bytes(4, "big"))
    own = {"private_hex": scalar("device").to_bytes(32, "big").hex(), "info_hex": info.hex()}
    base = valid("an epoch key", "hpke_open", **own, sealed_hex=hpke_seal(point("device"), info, digest("epoch")).hex())
    tests = [
        base,
        valid("nothing, sealed", "hpke_open", **own, sealed_hex=hpke_seal(point("device"), info, b"").hex()),
        like(base, "malformed", "shorter than a key and a tag", {"sealed_hex": [["cut", 80]]}),
        like(base, "seal-broken", "the encapsulated key is not on the curve", {"sealed_hex": [["flip", 40]]}),
        like(base, "seal-broken", "the encapsulated key says it is compressed", {"sealed_hex": [["put", 0, "02"]]}),
        like(base, "seal-broken", "the encapsulated key is all zero", {"sealed_hex": [["put", 0, "00" * 65]]}),
        like(base, "seal-broken", "another encapsulated key", {"sealed_hex": [["put", 0, point("other").hex()]]}),
        like(base, "seal-broken", "ciphertext of HPKE changed", {"sealed_hex": [["flip", 65]]}),
        like(base, "seal-broken", "tag of HPKE changed", {"sealed_hex": [["flip", 112]]}),
        like(base, "seal-broken", "cut by a byte", {"sealed_hex": [["cut", 112]]}),
        like(base, "seal-broken", "a byte more", {"sealed_hex": [["append", "00"]]}),
        like(base, "seal-broken", "another info", {"info_hex": [["flip", 20]]}),
        like(base, "seal-broken", "another private key", private_hex=scalar("other").to_bytes(32, "big").hex()),
        valid("the public key of a private one", "hpke_public", private_hex=own["private_hex"]),
        valid("a point of the curve", "hpke_public", public_hex=point("device").hex()),
        fails("malformed", "a point that is not on the curve", "hpke_public",
              public_hex=(b"\4" + bytes(63) + b"\1").hex()),
        fails("malformed", "a compressed point", "hpke_public", public_hex=(b"\2" + point("device")[1:33]).hex()),
        fails("malformed", "a hybrid point", "hpke_public", public_hex=(b"\6" + point("device")[1:]).hex()),
        fails("malformed", "the point at infinity", "hpke_public", public_hex="00"),
    ]  # fmt: skip
    return finished(
        "HPKE base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; private keys as 32 bytes.", tests
    )


def manifest_() -> dict[str, Any]:
    """manifest.json."""
    digests = [hashlib.sha256(str(index).encode()).digest() for index in range(1026)]
    few, many = manifest.Manifest(b"".join(digests[:3])), manifest.Manifest(b"".join(digests))
    tests = [
        valid("the digest of three segments", "manifest_digest", digests_hex=few.digests.hex()),
        valid("the digest of 1026 segments, the SHA-256 of 0 to 1025 in decimal", "manifest_digest",
              digests_hex=many.digests.hex()),
        valid("the page of three segments", "manifest_page", digests_hex=few.digests.hex(), page=0),
        fails("malformed", "making a page that is not", "manifest_page", digests_hex=few.digests.hex(), page=1),
    ]  # fmt: skip
    one = valid("the only page", "check_page", announced_hex=few.digest().hex(), page=0, segments=3,
                payload_hex=few.page_message(0).hex())  # fmt: skip
    last = valid("the second of two pages", "check_page", announced_hex=many.digest().hex(), page=1, segments=1026,
                 payload_hex=many.page_message(1).hex())  # fmt: skip
    first = valid("the first of two pages", "check_page", announced_hex=many.digest().hex(), page=0, segments=1026,
                  payload_hex=many.page_message(0).hex())  # fmt: skip
    tests += [
        one, last, first,
        like(one, "digest-mismatch", "another announced digest", {"announced_hex": [["flip", 0]]}),
        like(one, "digest-mismatch", "a page digest changed", {"payload_hex": [["flip", 0]]}),
        like(one, "digest-mismatch", "a segment digest changed", {"payload_hex": [["flip", 127]]}),
        like(one, "malformed", "a page cut by a byte", {"payload_hex": [["cut", 127]]}),
        like(one, "malformed", "a page with a digest more", {"payload_hex": [["append", "00" * 32]]}),
        like(one, "malformed", "an empty page", {"payload_hex": [["cut", 0]]}),
        like(one, "malformed", "a page after the last", page=1),
        like(one, "malformed", "a page of an object of four segments", segments=4),
        like(last, "malformed", "the second page as the first", page=0),
        like(last, "digest-mismatch", "the second page with the first's page digest",
             {"payload_hex": [["move", 0, 32, 32]]}),
        like(last, "digest-mismatch", "two segment digests of a page changed places",
             {"payload_hex": [["put", 64, (digests[1025] + digests[1024]).hex()]]}),
    ]  # fmt: skip
    return finished("Manifest pages, checked against the announced digest. The output is the segments' digests.", tests)


def objects_() -> dict[str, Any]:
    """objects.json."""
    attributes = objects.deflate_json({"shared": {"00280010": {"vr": "US", "Value": [512]}}, "parts": [{}, {}]})
    header = objects.Header(
        version=1, layer="display", series=["1.2.3"], instances=[objects.Instance("1.2.3.4", 0)],
        parts=[objects.Part(0, frame, 0, 100 + frame, "image/jpeg", True, 1200) for frame in range(2)],
        attributes=attributes,
    )  # fmt: skip
    data = objects.pack_header(header)
    base = valid("a header of two parts", "parse_header", data_hex=data.hex(), layer="display", size=len(data) + 201)
    no_series = objects.pack_header(objects.Header(1, "display", ["1.2.3"], [objects.Instance("1.2", 1)], [], b""))
    no_instance = objects.pack_header(
        objects.Header(1, "display", ["1.2.3"], [], [objects.Part(0, 0, 0, 5, "image/png", False, 100)], b"")
    )
    streams = {
        media: objects.pack_header(
            objects.Header(
                1, "video", ["1.2.3"], [objects.Instance("1.2", 0)], [objects.Part(0, 0, 0, 7, media, True, 9000)], b""
            )
        )
        for media in ("video/mp4", "video/mp2t", "video/mpeg", "video/h264", "video/h265")
    }
    unknown = streams["video/h265"].replace(b"video/h265", b"video/av01")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b" " * (4 * 1024 * 1024 + 1)) + deflate.flush()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    brim = deflate.compress(b"1" + b" " * (4 * 1024 * 1024 - 1)) + deflate.flush()

    def raw_deflate(text: bytes) -> str:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return (packer.compress(text) + packer.flush()).hex()

    tests = [
        base,
        like(base, "valid", "a header with the start of a part behind it", {"data_hex": [["append", "ffd8"]]}),
        like(base, "malformed", "a header cut in its length", {"data_hex": [["cut", 3]]}),
        like(base, "malformed", "a header cut by a byte", {"data_hex": [["cut", len(data) - 1]]}),
        like(base, "too-large", "a header of more than a mebibyte", {"data_hex": [["put", 0, "00100001"]]}),
        like(base, "malformed", "a header one byte shorter than it is",
             {"data_hex": [["put", 3, f"{data[3] - 1:02x}"]]}),
        like(base, "malformed", "a header of another layer", layer="original"),
        like(base, "malformed", "parts that end before their object", size=len(data) + 202),
        like(base, "malformed", "parts that end after their object", size=len(data) + 200),
        fails("malformed", "an instance of no series", "parse_header", data_hex=no_series.hex(), layer="display",
              size=len(no_series)),
        fails("malformed", "a part of no instance", "parse_header", data_hex=no_instance.hex(), layer="display",
              size=len(no_instance) + 5),
        *(valid(f"a stream of {media}", "parse_header", data_hex=packed.hex(), layer="video", size=len(packed) + 7)
          for media, packed in streams.items()),
        fails("malformed", "a stream of a media type that is none", "parse_header", data_hex=unknown.hex(),
              layer="video", size=len(unknown) + 7),
        valid("where a header ends", "header_end", data_hex="00000010"),
        valid("attributes", "inflate_json", data_hex=attributes.hex()),
        valid("attributes in Korean", "inflate_json", data_hex=objects.deflate_json({"a": "홍길동"}).hex()),
        valid("attributes with a surrogate pair in escapes", "inflate_json", data_hex=raw_deflate(rb'"\ud83e\ude7b"')),
        valid("attributes of 4 MiB", "inflate_json", data_hex=brim.hex()),
        fails("too-large", "attributes of 4 MiB and a byte", "inflate_json", data_hex=bomb.hex()),
        fails("malformed", "attributes that were cut", "inflate_json", data_hex=attributes[:-3].hex()),
        fails("malformed", "attributes with a byte behind", "inflate_json", data_hex=(attributes + b"\0").hex()),
        fails("malformed", "attributes with a zlib header", "inflate_json", data_hex=zlib.compress(b"{}").hex()),
        fails("malformed", "attributes that are no JSON", "inflate_json", data_hex=raw_deflate(b"{a:1}")),
        fails("malformed", "attributes with NaN", "inflate_json", data_hex=raw_deflate(b"[NaN]")),
        fails("malformed", "attributes in UTF-16", "inflate_json", data_hex=raw_deflate("{}".encode("utf-16-le"))),
        fails("malformed", "attributes that are not UTF-8", "inflate_json", data_hex=raw_deflate(b'"\xff"')),
        fails("malformed", "attributes with a byte order mark", "inflate_json",
              data_hex=raw_deflate(b"\xef\xbb\xbf{}")),
        fails("malformed", "attributes with half of a surrogate pair", "inflate_json",
              data_hex=raw_deflate(rb'"\ud83e"')),
        fails("malformed", "no attributes", "inflate_json", data_hex=""),
    ]  # fmt: skip
    return finished("What is inside an object: its header, and DICOM JSON in its deflated form.", tests)
