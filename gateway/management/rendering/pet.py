"""PET in standardised uptake values by body weight, and the hot iron palette.

After the vendor-neutral part of QIBA's FDG-PET profile: attenuation- and decay-corrected Bq/ml with the decay
reference at the start of the scan. What does not fit is left in its own units: no SUV is better than a wrong one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.pixels.processing import apply_color_lut
from pydicom.valuerep import DA, DT, TM

from gateway.management.rendering.groups import FrameView, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

MODALITIES: Final = ("PT", "PET")
SUV_WINDOW: Final = (0.0, 10.0)
"""What whole-body FDG is commonly read at."""
_DAY: Final = timedelta(days=1)


def suv_factor(view: FrameView) -> float | None:
    """SUVbw (g/ml) of one unit of the modality LUT's output; None when the header does not allow to say."""
    if view.text("Modality") not in MODALITIES:
        return None
    units = view.text("Units")
    if units == "GML":
        return 1.0 if view.text("SUVType") in ("", "BW") else None
    if units != "BQML" or view.text("DecayCorrection") not in ("START", "ADMIN"):
        return None
    weight_kg = view.numbers("PatientWeight")
    drug = view.item("RadiopharmaceuticalInformationSequence")
    if not weight_kg or weight_kg[0] <= 0 or drug is None or not _corrected(view):
        return None
    dose_bq = _decayed_dose_bq(view, drug)
    return None if dose_bq is None else weight_kg[0] * 1000 / dose_bq


def hot_iron() -> NDArray[np.uint8]:
    """The well-known palette (PS3.6 B.1.1): (256, 3)."""
    colours: NDArray[np.uint8] = apply_color_lut(np.arange(256, dtype=np.uint8), palette="HOT_IRON")[:, :3]
    return colours.astype(np.uint8)


def _corrected(view: FrameView) -> bool:
    element = view.element("CorrectedImage")
    if element is None:
        return False
    value = element.value
    done = {str(each).upper() for each in ([value] if isinstance(value, str) else value)}
    return {"ATTN", "DECY"} <= done


def _decayed_dose_bq(view: FrameView, drug: Dataset) -> float | None:
    dose, half_life_s = numbers(drug, "RadionuclideTotalDose"), numbers(drug, "RadionuclideHalfLife")
    if not dose or not half_life_s or dose[0] <= 0 or half_life_s[0] <= 0:
        return None
    if view.text("DecayCorrection") == "ADMIN":
        return dose[0]
    start = _scan_start(view)
    elapsed = None if start is None else _since_injection(drug, start)
    if elapsed is None or not timedelta(0) <= elapsed <= _DAY:
        return None
    return float(dose[0] * 2 ** (-elapsed.total_seconds() / half_life_s[0]))


def _scan_start(view: FrameView) -> datetime | None:
    """Series date and time, to which pixels are decay-corrected; after post-processing they lie behind the scan."""
    series = _moment(view, "SeriesDate", "SeriesTime")
    acquired = _moment(view, "AcquisitionDate", "AcquisitionTime")
    return series if series and acquired and series <= acquired else None


def _since_injection(drug: Dataset, start: datetime) -> timedelta | None:
    try:
        if drug.get("RadiopharmaceuticalStartDateTime"):
            injected = DT(drug.RadiopharmaceuticalStartDateTime)
            return None if injected is None else start - injected.replace(tzinfo=None)
        time = TM(drug.get("RadiopharmaceuticalStartTime"))
    except (TypeError, ValueError):
        return None
    # a time without its date: the same day, or across midnight
    return None if time is None else (start - datetime.combine(start.date(), time)) % _DAY


def _moment(view: FrameView, date_keyword: str, time_keyword: str) -> datetime | None:
    held_date, held_time = view.element(date_keyword), view.element(time_keyword)
    if held_date is None or held_time is None:
        return None
    try:
        date, time = DA(held_date.value), TM(held_time.value)
    except (TypeError, ValueError):
        return None
    return None if date is None or time is None else datetime.combine(date, time)
