"""The extraction prompt, answered by rule: which facts a message states, in the language it states them."""

import re

from . import lexicon

_SMALL_TALK = re.compile(
    r"^(你好|您好|嗨|哈喽|早上好|晚上好|谢谢|多谢|好的|好|嗯|再见|拜拜|不客气|在吗|"
    r"(hi|hey|hello|thanks?( you)?( a lot| so much)?|ok(ay)?|bye|good (morning|evening|night)|nice to meet you|"
    r"there are branches in trees)\b)[，, ]?.{0,6}$",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[?？]\s*$|(吗|呢)$|^(什么|怎么|为什么)|^(what|when|where|who|how|why|which|do you|can you|could you)\b",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(请?(帮我)?(记住|记一下|记下)(我的?(以下)?(编码|代码|个人)?(偏好|信息|习惯)?)?(是)?[：:，,]?|"
    r"(我的)?(编码|代码|个人)?(偏好|信息)(是|如下)?[：:]|"
    r"(另外|还有|而且|并且|顺便说一下|对了|其实|以及)[，,]?\s*|"
    r"(also|and|but|oh|well|by the way|so|actually),?\s+|"
    r"(please )?(remember|note)( that)?[:,]?\s+)",
    re.IGNORECASE,
)
# A comma parts two facts where a new predicate follows it.
_CHINESE_PREDICATE = (
    r"(?=我?(?:还|也|现在|目前|平时|最|很|不|从不|一直)?(?:喜欢|爱|住|讨厌|偏好|习惯|使用|采用|养|是|有|在|想|打算|计划|"
    r"准备|会|叫|对.{1,6}过敏|变量|常量|函数|类名|注释|缩进))"
)
_ENGLISH_PREDICATE = r"(?=(?:and |but |also )?(?:i|i'm|my|we)\b)"
_PARTS = re.compile(
    r"[。！!；;\n]+|[.](?=\s|$)\s*|(?<=[?？])\s*|"
    rf"[，,]\s*{_CHINESE_PREDICATE}|,\s*{_ENGLISH_PREDICATE}|\s+(?:and|but)\s+(?=(?:i|i'm|my)\s)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)、．]|[（(]\d{1,2}[)）])\s*")
_VERBS = "like|love|prefer|hate|dislike|enjoy|live|work|use|want|need|play|drink|eat|own|speak|drive|collect|read"
_ENGLISH_SUBJECT = [
    (re.compile(pattern, re.IGNORECASE), to)
    for pattern, to in (
        (r"^i(?: am|'m)\s+", "Is "),
        (r"^i(?: have|'ve got|'ve)\s+", "Has "),
        (rf"^i (?:really |also )?({_VERBS})\b", r"\1s"),
        (r"^i\s+", ""),
        (r"^my\s+", ""),
    )
]


def extract(message: str) -> list[str]:
    """The facts in `message`: a prompt's "Input:" text, where lines may carry "user:" and "assistant:"."""
    facts: list[str] = []
    for part in _PARTS.split(_said_by_user(message)):
        fact = _fact(part) if part else None
        if fact and fact not in facts:
            facts.append(fact)
    return facts


def _said_by_user(message: str) -> str:
    text = re.sub(r"^\s*input:\s*", "", message, flags=re.IGNORECASE)
    kept, speaker = [], "user"
    for line in text.splitlines():
        if labelled := re.match(r"\s*(user|assistant|system):\s?(.*)", line, re.IGNORECASE):
            speaker, line = labelled[1].lower(), labelled[2]
        if speaker == "user":
            kept.append(_BULLET.sub("", line))
    return "\n".join(kept)


def _fact(part: str) -> str | None:
    text = _BULLET.sub("", part).strip(" \t,，.。:：、\"'“”")
    while (shorter := _LEAD_IN.sub("", text).strip(" ,，:：")) != text:
        text = shorter
    if not text or _SMALL_TALK.match(text) or _QUESTION.search(part.strip()):
        return None
    if lexicon.is_chinese(text):
        text = re.sub(r"^我的?(?=.)", "", text)
    else:
        for pattern, to in _ENGLISH_SUBJECT:
            text, changed = pattern.subn(to, text)
            if changed:
                break
        text = text[:1].upper() + text[1:]
    return text or None
