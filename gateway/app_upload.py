"""Makes DICOM of what a device sent up: ``python -m gateway.app_upload STATE``, a job as JSON on standard input.

A process of its own for each file: the core loads no DICOM library, and decoding happens below in yet another one,
which is limited. The answer is a line of JSON on standard output.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.app import State, open_registry, set_up_log
from gateway.app_import import doorway

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from gateway.config import Config
    from gateway.delivery.uploads import Became, Job, Uploads
    from gateway.middleware.pacs.client import PacsClient

_MOST_S = 600.0
_KINDS = {"image/jpeg": "jpeg", "image/png": "png", "image/tiff": "tiff", "application/pdf": "pdf",
          "application/dicom": "dicom"}  # fmt: skip


def outward(state: State, config: Config, opened: Engine) -> tuple[PacsClient, Uploads]:
    """How the core asks the PACS, and what it takes from devices for them."""
    from gateway.delivery.forwarding import Forwarding
    from gateway.delivery.uploads import Uploads
    from gateway.management.census import Census
    from gateway.middleware.pacs.client import PacsClient

    pacs = PacsClient(state.pacs_socket)
    forwarding = Forwarding(opened, pacs, state.archive)
    census = Census(opened, config.access)
    return pacs, Uploads(opened, census, config, state.uploads, functools.partial(convert, state), forwarding)


async def convert(state: State, job: Job) -> Became:
    """The core's side: start the process and read what it says."""
    from gateway.delivery.uploads import Became

    question = {"path": str(job.path), "kind": _KINDS[job.ask.media], "patient": job.ask.PatientID,
                "issuer": job.ask.IssuerOfPatientID, "study": job.ask.study, "description": job.ask.description,
                "taken_ms": job.ask.taken, "operator": job.who.name or job.who.identifier}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.app_upload", str(state.root)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_MOST_S):
            out, _ = await process.communicate(json.dumps(question).encode())
        return Became(**json.loads(out)) if process.returncode == 0 else Became(reason="busy")
    except (TimeoutError, ValueError, TypeError):
        return Became(reason="busy")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> None:
    """One job."""
    set_up_log()
    state = State(Path(sys.argv[1]))
    job = json.loads(sys.stdin.buffer.read())
    _, opened, _ = open_registry(state)
    sys.stdout.write(json.dumps(_take(state, opened, job)) + "\n")
    opened.dispose()


def _take(state: State, opened: Engine, job: dict[str, Any]) -> dict[str, str]:
    with doorway(state, opened) as (admission, entrance):
        from gateway.management.subjects import SubjectRefusedError, find_subject
        from gateway.middleware.importing.importer import Importer, Outcome
        from gateway.middleware.importing.kinds import kind_of
        from gateway.middleware.importing.subject import Wishes

        path = Path(job["path"])
        if kind_of(path) != job["kind"]:
            return {"reason": "malformed"}
        try:
            with opened.connect() as connection:
                subject = find_subject(connection, job["patient"], job["study"], "", job["issuer"])
        except SubjectRefusedError:
            return {"reason": "forbidden"}
        wishes = Wishes(job["description"], taken_at=job["taken_ms"] / 1000, photographer=job["operator"])
        importer = Importer(admission, entrance.is_known, "upload", subject, wishes)
        (report,) = importer.take([path])
        if report.outcome in (Outcome.NEW, Outcome.KNOWN) and report.instances:
            entrance.settle({report.StudyInstanceUID})
            return {"StudyInstanceUID": report.StudyInstanceUID, "SOPInstanceUID": report.instances[0]}
        return {"reason": "busy" if report.is_transient else "forbidden" if report.is_anothers else "malformed"}


if __name__ == "__main__":
    main()
