"""Makes the vector files: ``python tests/vectors/generate.py``. The same code gives the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.vectors import encoding, plain, sealed, signed, trust
from tests.vectors.fixed import without_randomness

FOLDER = Path(__file__).parent

FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "names": plain.names,
    "topics": plain.topics,
    "access": plain.access,
    "bits": plain.bits,
    "cbor": encoding.cbor,
    "messages": encoding.messages,
    "sign": sealed.sign_,
    "seal": sealed.seal_,
    "hpke": sealed.hpke_,
    "manifest": sealed.manifest_,
    "objects": sealed.objects_,
    "head": signed.head,
    "announcement": signed.announcement,
    "keys": signed.keys,
    "request": signed.request,
    "answer": signed.answer,
    "keyset": trust.key_set,
    "enrolment": trust.enrolment_,
}


def text(name: str) -> str:
    """The file's text: one test a line, so that a change of one vector is a change of one line."""
    with without_randomness():
        content = FILES[name]()
    tests = ",\n".join("  " + json.dumps(test, ensure_ascii=True) for test in content["tests"])
    return f'{{\n"about": {json.dumps(content["about"])},\n"tests": [\n{tests}\n]\n}}\n'


def main() -> None:
    """Write every file."""
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    main()
