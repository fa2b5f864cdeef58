"""The gateway's own block of private elements in what it tells of a study, see docs/protocol.md. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.management.index.arrivals_rows import StudyRow

SHARED_BY, SHARED_UNTIL, BLANK_AFTER = "00911001", "00911002", "00911003"
_CREATOR = "00910010"
_CREATOR_NAME = "MPACS EDGE"


def with_elements(study: StudyRow, elements: Mapping[str, Mapping[str, Any]]) -> StudyRow:
    """The study with these private elements, by tag, and the block's creator (PS3.5 section 7.8.1)."""
    attributes = {**json.loads(study.attributes), _CREATOR: {"vr": "LO", "Value": [_CREATOR_NAME]}, **elements}
    return replace(study, attributes=json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode())
