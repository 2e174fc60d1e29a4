"""Courtesies and remarks on the weather: said to be polite, and nothing that a person would want remembered.

Weak models extract them as facts. Only a fact that is nothing else is meant: each part of it between two marks is one
of these phrases, as a whole.
"""

import re

_HOW = r"(?:(?:so|very|really|quite|pretty|just|such a|a|what a)\s)*+"
_FINE = r"(?:nice|good|great|lovely|beautiful|fine|wonderful|awful|terrible|bad|hot|cold|sunny|rainy)"
_ENGLISH = (
    r"(?:many\s)?thanks?(?:\s(?:you|so much|very much|a lot|a million|again|everyone|all))*",
    r"(?:hi|hello|hey)(?:\s(?:there|again|everyone|all))*",
    r"good\s(?:morning|afternoon|evening|night|day)|good\s?bye|bye(?:\sbye)?|see you(?:\s(?:later|soon|tomorrow))?",
    r"ok(?:ay)?|sure|yes|no|right|great|nice|cool|awesome|perfect|wow|(?:ha){2,10}h?|lol|please",
    r"how are you(?:\s(?:doing|today))*|nice to meet you|you(?:'|’)?re welcome|no problem|never mind|sorry",
    rf"(?:(?:it|that)(?:'|’)?s\s|it is\s|today is\s)?{_HOW}{_FINE}\s(?:weather|day)(?:\s(?:today|outside))*",
    rf"the weather(?:\stoday)?(?:'|’)?(?:\sis|s)\s{_HOW}{_FINE}(?:\stoday)?",
)
_CHINESE = (
    r"(?:非常|十分|太|多)?(?:谢谢|多谢|感谢|谢)(?:你们?|您|大家|啦|了|啊|哦)*",
    r"(?:你们?|您|大家|早上|上午|中午|下午|晚上)好(?:啊|呀)?|早安?|晚安|嗨|哈喽|再见|拜拜|回头见|明天见",
    r"好(?:的|吧|啊|呀|嘞)+|嗯+|哦+|哈{2,10}|行|可以|没问题|没关系|不客气|辛苦(?:你|您|啦|了)*|对不起|抱歉",
    r"(?:今天|今日|外面)?的?天气?(?:可|真是?|很|挺|非常|还|太|好|这么)*"
    r"(?:不错|好|棒|晴朗|差|糟糕|热|冷|舒服)(?:啊|呀|呢|了|哦|的)*",
)
_SAYS = r"(?:(?:the\s)?user\s)?(?:(?:says?|said)\s)?|用户(?:说|表示)?"
_COURTESY = re.compile(rf"(?:{_SAYS})(?:{'|'.join([*_ENGLISH, *_CHINESE])})", re.IGNORECASE)
_MARKS = re.compile(r"[^\w\s'’]+")
_LONGEST = 80  # characters


def is_small_talk(fact: str) -> bool:
    """Whether `fact` is a courtesy, or a remark on today's weather, and nothing else."""
    if len(fact) > _LONGEST:
        return False
    parts = [" ".join(part.split()) for part in _MARKS.split(fact)]
    return any(parts) and all(_COURTESY.fullmatch(part) for part in parts if part)
