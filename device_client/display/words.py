"""What the screen says, in Korean and English, and how an age is said. Pure."""

from typing import Literal

Language = Literal["ko", "en"]

_SECOND_MS = 1000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS

WORDS: dict[str, dict[Language, str]] = {
    "current": {"en": "Current as of {at}", "ko": "최신 상태 · {at} 기준"},
    "updating": {"en": "Being brought up to date · as of {at}", "ko": "새 내용을 받는 중 · {at} 기준"},
    "starting": {"en": "Waiting for the gateway", "ko": "게이트웨이를 기다리는 중"},
    "overdue": {
        "en": "NOT CURRENT since {at} ({age}): the gateway is silent",
        "ko": "최신 아님 · {at} 이후 {age} 동안 소식 없음",
    },
    "gateway-gone": {
        "en": "NOT CURRENT since {at} ({age}): the gateway has gone",
        "ko": "최신 아님 · 게이트웨이 꺼짐 · {at} 기준 ({age})",
    },
    "disconnected": {
        "en": "NOT CURRENT since {at} ({age}): no connection",
        "ko": "최신 아님 · 연결 끊김 · {at} 기준 ({age})",
    },
    "receiver-gone": {
        "en": "NOT CURRENT since {at} ({age}): the receiver has stopped",
        "ko": "최신 아님 · 수신 중단 · {at} 기준 ({age})",
    },
    "blanked": {"en": "HIDDEN: not current since {at} ({age})", "ko": "화면 가림 · {at} 이후 최신 아님 ({age})"},
    "blanked-why": {
        "en": "Pictures are hidden until the gateway is reached again.",
        "ko": "게이트웨이에 다시 연결되면 영상이 나타납니다.",
    },
    "revoked": {"en": "This screen no longer belongs to the ward", "ko": "이 화면은 병동에서 해제되었습니다"},
    "revoked-why": {"en": "Ask IT for a new enrolment link.", "ko": "전산실에 새 등록 링크를 요청하십시오."},
    "lease-ended": {"en": "This screen was out of reach for too long", "ko": "오랫동안 연결되지 않아 잠겼습니다"},
    "lease-ended-why": {
        "en": "It opens by itself when the gateway is reached.",
        "ko": "게이트웨이에 연결되면 저절로 열립니다.",
    },
    "not-enrolled": {"en": "This screen belongs to no ward yet", "ko": "아직 병동에 등록되지 않은 화면입니다"},
    "not-enrolled-why": {"en": "{reason}", "ko": "{reason}"},
    "stick": {
        "en": "Plug in a stick with an enrolment link.",
        "ko": "등록 링크가 담긴 USB를 꽂으십시오.",
    },
    "storage-gone": {
        "en": "STORAGE REMOVED: nothing new is kept · as of {at} ({age})",
        "ko": "저장 장치 분리됨 · {at} 기준 ({age})",
    },
    "storage-read-only": {
        "en": "STORAGE READ-ONLY: nothing new is kept · as of {at} ({age})",
        "ko": "저장 장치 읽기 전용 · {at} 기준 ({age})",
    },
    "storage-full": {
        "en": "STORAGE FULL: nothing new is kept · as of {at} ({age})",
        "ko": "저장 공간 부족 · {at} 기준 ({age})",
    },
    "card-gone": {"en": "The storage of this screen cannot be used", "ko": "저장 장치를 사용할 수 없습니다"},
    "card-gone-why": {"en": "Call IT: {reason}", "ko": "전산실에 연락하십시오: {reason}"},
    "empty": {"en": "No studies in this ward", "ko": "이 병동에 검사가 없습니다"},
    "loading": {"en": "Picture on its way", "ko": "영상을 받는 중"},
    "no-picture": {"en": "No pictures", "ko": "영상 없음"},
    "broken": {"en": "This picture cannot be shown", "ko": "이 영상을 표시할 수 없습니다"},
    "not-for-diagnosis": {"en": "not for diagnosis", "ko": "진단용 아님"},
    "lossy": {"en": "lossy {ratio}:1", "ko": "손실 {ratio}:1"},
    "growing": {"en": "arriving", "ko": "수신 중"},
    "urgent": {"en": "STAT", "ko": "응급"},
    "paused": {"en": "paused", "ko": "정지"},
    "no-name": {"en": "Patient", "ko": "환자"},
}


def say(language: Language, key: str, **facts: str) -> str:
    """The text of ``key``."""
    return WORDS[key][language].format(**facts)


def age(language: Language, milliseconds: int) -> str:
    """How old: in seconds up to two minutes, then minutes, hours, days; never negative."""
    elapsed = max(milliseconds, 0)
    if elapsed < 2 * _MINUTE_MS:
        number, unit = elapsed // _SECOND_MS, ("s", "초")
    elif elapsed < 2 * _HOUR_MS:
        number, unit = elapsed // _MINUTE_MS, ("min", "분")
    elif elapsed < 2 * _DAY_MS:
        number, unit = elapsed // _HOUR_MS, ("h", "시간")
    else:
        number, unit = elapsed // _DAY_MS, ("d", "일")
    return f"{number} {unit[0]}" if language == "en" else f"{number}{unit[1]}"
