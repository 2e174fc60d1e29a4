"""What a fact asks of the memory itself, instead of saying something about the person.

`tests/memory/test_forgetting.py` measures each question on lists of sentences in both languages. Facts come from a
model, so "User asked to forget …" is as common as "Forget …". Every pattern is anchored or looks at a bounded number
of characters from a verb on, and `*+` never gives back: the whole is linear.
"""

import re

_I = re.IGNORECASE
_SENTENCE_END = re.compile(r"[。！？!?;；\n]+|\.(?:\s|$)")

# --- what a person asks to have forgotten ---------------------------------------------------------------------------

# Words before the verb. A mere wish ("wants to forget his ex") says something about the person.
_POLITE = r"(?:(?:please|kindly|can|could|would|will|should|must|you|i|we|i'd|i’d|let's|now|just|also|so|and|then)\s)*+"
_ASKS = (
    r"(?:the\s)?(?:user|person|speaker|he|she|they)\s(?:wants?|asks?|asked|requests?|requested|would like|wishe?s?)\s"
    r"(?:(?:for|you|me|us|the assistant|the system|that|to)\s)*+"
    r"|(?:i\s|i'd\s|i’d\s)?(?:would\s)?(?:want|like|need|ask)s?\s(?:you|the assistant|the system)\sto\s"
    r"|(?:wants?|asks?|asked|requests?|requested)\s(?:(?:you|the assistant|the system)\sto|to have)\s"
)
_BEGIN = rf"\W{{0,8}}+{_POLITE}(?P<asks>{_ASKS})?{_POLITE}"
_FORGET = re.compile(rf"{_BEGIN}forget\b(?!-|\s(?:previous|prior|your) (?:instruction|rule))", _I)
_NOT_REMEMBER = re.compile(
    r"\W{0,8}+(?:please\s)?(?:you\s(?:should|can|must|may)?\s?)?(?:(?:i|(?:the\s)?user)\s(?=no longer|do not want"
    r"|don.t want|does))?(?:do not|don['’]t|never|stop|no longer|not"
    r"|does(?: not|n['’]t)(?= want (?:you|the)))\s(?:(?:want (?:you|the assistant|the system)|need|have) to\s)?"
    r"remember(?:ing)?\s(?!to\b)(?:my|me|that|this|it|what|anything|where|who|how|the user|his|her|their|about)\b",
    _I,
)
_DELETE = re.compile(rf"{_BEGIN}(?P<verb>delete|erase|remove|wipe|clear|drop|purge)\s", _I)
_MINE = re.compile(
    r"(?:(?:all|any|of|the)\s)*+(?:my|me|his|her|their|user's|user’s|everything|what|memories)\b"
    r"|that (?:i|he|she|the user)\b|(?:it|that|this)\W{0,8}$",
    _I,
)
_IS_REMEMBERED = re.compile(
    r"\b(?:memor(?:y|ies)|preferences?|information|about (?:me|him|her|them|the user|myself)|remember(?:ed)?"
    r"|i (?:said|mentioned))\b",
    _I,
)
_NOT_MEMORY = re.compile(
    r"\bmemory (?:leaks?|cards?|usage|limits?|cells?|banks?|foam|chips?)\b|\b(?:branch(?:es)?|files?|commits?)\b"
    r"|\bfrom (?:the|a|an|all)\s(?!memory)",
    _I,
)
_AT_LAST = re.compile(r"(?<!never)(?<!not)(?<!n't)(?<!n’t)\sforget (?:about )?(?:it|that|this)\W{0,8}$", _I)
_BE_DELETED = re.compile(
    r"\bmemor(?:y|ies)\b[^.]{0,80}\bbe (?:deleted|removed|forgotten|erased)\b"
    r"|\b(?:asks?|asked|requests?|requested|wants?)\b[^.]{0,60}?\bbe forgotten\b",
    _I,
)

_ZH_BEGIN = re.compile(
    r"(?P<strong>(?:请你?|麻烦你?|帮我|帮忙|你|您|能不能|能否|可不可以|可以|让|要你|要求|希望|以后|今后|现在|马上|立即|都"
    r"|用户|我|想(?=让|要你)|要|就)*+)(?P<weak>想要?|打算)?"
)
_ZH_STRONG = re.compile(r"请|麻烦|帮|你|您|能|可|让|要|希望")
_ZH_FORGET = re.compile(r"(?:忘掉|忘记|忘了)[了吧]?")
_ZH_DELETE = re.compile(r"(?:删除|删掉|清除|清空|清掉|抹掉|抹除|擦除|移除|去掉)了?")
_ZH_OBJECT = re.compile(r"(?:我|关于|有关|之前|以前|刚才|这|那|其|它|他|她|你|所有|全部|一切|用户)|[了吧。]{0,4}$")
_ZH_THEIRS = re.compile(r"[他她]的|用户的")
_ZH_FILES = re.compile(r"分支|文件|代码|注释|提交|缓存")
_ZH_MINE = re.compile(r"我|关于|有关|用户的|[这那它]条?[了吧。]{0,4}$")
_ZH_MEMORY = re.compile(r"记忆(?!卡|棉|宫殿|体)|偏好|信息|你记")
_ZH_TAKEN = re.compile(
    r"[把将](?P<what>[^，。]{1,60}?)(?:都|全部|全|统统|彻底)?(?:给我)?(?:忘掉|忘记|忘了|删除|删掉|清除|清空|抹掉|抹除)[了吧吗。！？!?]{0,4}$"
)
_ZH_NOT_REMEMBER = re.compile(
    r"(?:不要|别|不用|不必|不准|停止|取消|不(?:想|希望|要|愿)让?(?:你|系统|助手|AI))(?:再|继续)?(?:记住|记得|记着|记)(?!录|事|笔)"
    r"(?=我|关于|有关|这|那|它|他|她|用户)|[^，。]{0,20}(?:不要|别|不用|不必)再?(?:记了|记住了)[吧。]*$"
    r"|(?:不要|别)再?把[^，。]{1,20}记(?:下来|住|着)[了。]{0,4}$"
)


def is_forgetting(fact: str) -> bool:
    """Whether `fact` asks to forget something remembered, rather than states something."""
    said = " ".join(fact.split())
    asks = _asks_in_english(said) or _asks_in_chinese(said)
    return asks or _asks_in_english(said.rpartition(", ")[2]) or _asks_in_chinese(said.rpartition("，")[2])


def forgets_everything(fact: str) -> bool:
    """Whether what is to be forgotten has no bound: all memories, or everything about the person."""
    return bool(_EVERYTHING.search(fact) or _ZH_EVERYTHING.search(fact))


def is_instruction(fact: str) -> bool:
    """Whether `fact` is a command to the model or about the whole memory: nothing that a person would want remembered.

    "Delete all memories" is one, and a request to forget everything as well.
    """
    said = " ".join(fact.split())
    if any(pattern.search(said) for pattern in _TO_THE_MODEL) or (forgets_everything(said) and is_forgetting(said)):
        return True
    return any(not _FORBIDS.search(said, max(0, found.start() - 24), found.start()) for found in _ALL.finditer(said))


def is_command(text: str) -> bool:
    """Whether every sentence of `text` is a command to the model, so that nothing in it is worth remembering."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if re.search(r"\w", sentence)]
    return bool(sentences) and all(map(is_instruction, sentences))


def _asks_in_english(said: str) -> bool:
    if _FORGET.match(said) or _NOT_REMEMBER.match(said) or _AT_LAST.search(said) or _BE_DELETED.search(said):
        return True
    deletes = _DELETE.match(said)
    if deletes is None or _NOT_MEMORY.search(said):
        return False
    if _IS_REMEMBERED.search(said, deletes.end()):
        return True
    asks = deletes["asks"] or "you"
    own = deletes["verb"].lower() in ("delete", "erase", "remove") and re.search(r"\b(?:you|assistant|system)\b", asks)
    return bool(own and _MINE.match(said, deletes.end()))


def _asks_in_chinese(said: str) -> bool:
    begin = _ZH_BEGIN.match(said)
    at = begin.end() if begin else 0
    asks = begin is not None and not begin["weak"] and _ZH_STRONG.search(begin["strong"]) is not None
    taken = _ZH_TAKEN.match(said, at)
    if taken:
        return bool(_ZH_MINE.search(taken["what"]) or _ZH_MEMORY.search(taken["what"]) or (asks and "忘" in said[-4:]))
    if _ZH_NOT_REMEMBER.match(said, at):
        return True
    weak = begin is not None and begin["weak"] is not None
    if begin is not None and begin["strong"].endswith(("我", "用户")) and not asks:
        return False  # 我忘了我的密码
    verb = _ZH_FORGET.match(said, at)
    if verb:
        return asks or bool((not weak and _ZH_OBJECT.match(said, verb.end())) or _ZH_MEMORY.search(said, verb.end()))
    verb = _ZH_DELETE.match(said, at)
    if verb is None or _ZH_FILES.search(said, verb.end()):
        return False
    own = not weak and verb[0][:2] in ("删除", "删掉", "抹掉")
    mine = own and (_ZH_MINE.match(said, verb.end()) or (asks and _ZH_THEIRS.match(said, verb.end())))
    return bool(mine or _ZH_MEMORY.search(said, verb.end()))


# --- what is a command to the model ---------------------------------------------------------------------------------

_RULES = r"(?:instructions?|(?:system )?prompts?|directions|guidelines|directives|commands?|rules|restrictions)"
_WHOSE = r"(?:all|any|the|your|these|my|of|previous|prior|above|earlier|preceding|existing|system|other|safety)"
_WIPES = (
    r"(?:delete|erase|remove|wipe|drop|clear|purge|destroy"
    r"|replace|update|overwrite|override|set|mark|change|reset)"
)
_EVERY = r"(?:all|every|each|whole|entire|any)"
_TO_THE_MODEL = [
    re.compile(pattern, _I)
    for pattern in (
        rf"\b(?:ignore|disregard|override|forget|bypass|not follow|n't follow|stop following|not obey)"
        rf"(?:\s{_WHOSE}){{1,4}}\s{_RULES}\b(?!\s(?:of|in|for|from|on)\b)",
        rf"\b(?:ignore|disregard)\s(?:the\s)?{_RULES}\s(?:above|before)\b"
        r"|\b(?:ignore|disregard)\s(?:everything|anything|all)\s(?:above|before|prior|earlier)\b",
        r"^\W{0,8}+you are now\b|\byou are now (?:dan\b|in \w{1,20} mode|an? (?:unrestricted|uncensored))"
        r"|\bfrom now on,? you are\b|\byour (?:new|only) (?:task|job|goal|role)\b",
        r"\b(?:reveal|print|show|output|repeat|tell me|leak|display)\b[^.]{0,30}?\b(?:system prompt|your instructions"
        r"|text above|words above|your prompt)",
        r"\b(?:return|output|answer with|reply with)\b[^.]{0,40}?(?:\"?memory\"?\s?:|\bdelete for\b)"
        r"|\b(?:choose|answer|return|output|pick|select)\s\W?(?-i:DELETE)\b|一律(?:选择|返回|输出|使用)\W?(?-i:DELETE)",
        rf"\b(?:wants?|asks?|asked|requests?|requested)\b[^.]{{0,30}}?\b{_EVERY}\s(?:(?:of|the|my|his|her|their|stored)\s)*+"
        r"memories\s(?:(?:to\s)?be\s)?(?:deleted|erased|removed|wiped|cleared|forgotten)\b",
        r"\bpretend that all memories\b|\bextract no facts\b",
        r"^\W{0,8}+(?:system|assistant|developer|admin(?:istrator)?)(?:\s\w{1,12}){0,2}\W{1,3}[^.]{0,40}?"
        rf"\b{_WIPES}\b[^.]{{0,40}}?\b(?:everything|memor(?:y|ies))\b",
        r"(?:忽略|忽视|无视|不管|不要?理会|别理会|不要?遵守|停止遵守|不再遵守|忘记|忘掉|覆盖|跳过|绕过|推翻)[掉了]?"
        r"[^，。]{0,4}?(?:之前|以上|上述|前面|上面|所有|你的|系统|先前|此前|全部|一切|你之前)"
        r"(?:[^，。]{0,6}?(?:指令|指示|提示词|系统提示)|的?(?:所有|全部)?(?:提示|规则|要求|限制|命令|设定))",
        r"(?:输出|显示|告诉我|重复|泄露|打印|透露|公开)[^，。]{0,6}(?:系统提示|你的提示词|上面的所有|以上的?所有|你的指令)",
        r"^\W{0,8}+你现在(?:是|进入)[^，。]{0,8}(?:没有|不受|无限制|管理员|模式|DAN)|从现在起，?你(?:是|将|必须)|你的新任务|不要提取任何|只返回空|只输出\W{0,3}memory",
        r"(?:清空|删除|清除|抹除|格式化)(?:整个|全部)?记忆(?:库|数据库)",
        r"(?:所有|全部|每一?条|一切)[^，。我于]{0,6}(?:记忆|条目)[^，。]{0,8}(?:删除|清[空掉除]|作废|改[成为]|更新|替换|覆盖|标记|设[为成]|返回|输出)",
        r"^\W{0,8}+(?:系统|管理员|开发者)(?:指令|命令|消息|模式|提示)?[：:】\]][^。]{0,12}"
        r"(?:删除|清[空除]|更新|替换|覆盖)[^。]{0,12}记忆",
        r"记忆(?:全部|统统|都|一律)(?:清[空掉除]|删[除掉]|作废|抹[除掉])",
        r"(?:删除|删掉|清空|清除|抹除|抹掉|销毁|覆盖|更新|替换|重置|移除)[^，。我于]{0,10}?"
        r"(?:所有|全部|每一?条|一切)[^，。我于]{0,6}?(?:记忆|条目)(?!卡|棉)",
    )
]
_ALL = re.compile(
    rf"\b{_WIPES}\s(?:the\s|of\s)*+{_EVERY}\s(?:(?:of|the|your|user's|existing|old|stored|past|other|saved)\s){{0,3}}"
    r"(?:(?:memor(?:y|ies)\s(?:store|database)\b|memories\b(?!\s(?:about|that i|of my|we))"
    r"|memory\b(?=\W{0,8}$|[^\w\s]|\s(?:and|in|from|you|now|immediately|to|with|as|of (?:this|the) user)\b))"
    r"|(?:entries|records)\W{0,8}$)"
    rf"|\b{_WIPES}\s(?:the\s)(?:memory (?:store|database)|existing ones)\b"
    rf"|\b{_WIPES}\s(?:the events? of\s)?{_EVERY}\s(?:\w{{1,12}}\s){{0,2}}"
    r"(?:memories|entries|entry|events)\s(?:as|to|with)\b",
    _I,
)
_FORBIDS = re.compile(r"\b(?:never|not|n't|n’t|without|before|avoid)\b[^.]{0,14}$", _I)

_EVERYTHING = re.compile(
    r"\b(?:forget|delete|erase|remove|wipe|clear|drop|purge)\s(?:about\s)?(?:"
    r"(?:absolutely\s)?everything\b(?!\sabout (?!me\b|us\b|the user\b))"
    r"|(?:all|every|each|any)(?:\s(?:of|the|my|your|these|single|stored|existing|user's)){0,3}"
    r"\s(?:memor(?:y|ies)|preferences|data|information|it|them|facts)\b(?!\s(?:about|of|on) (?!me\b|the user\b))"
    r"|(?:the|my|your)(?:\s(?:whole|entire|complete|full))?\s(?:memory|memories|data|preferences)\W{0,8}$"
    r"|all\W{0,8}$)|\bforget me\b",
    _I,
)
_ZH_EVERYTHING = re.compile(
    r"(?:忘掉|忘记|忘了|删除|删掉|清空|清除|抹掉|抹除)[^，。]{0,8}?(?:一切|(?:所有|全部|每一?条)(?:关于我的)?[^，。于]{0,6}?"
    r"(?:记忆|信息|偏好|数据|的事|条目)|我的全?部?记忆[了吧。]{0,4}$|记忆库|所有$|全部$)"
    r"|[把将][^，。于]{0,10}?(?:所有|全部|一切|偏好|记忆|说过的)[^，。]{0,4}(?:都|全部)[^，。]{0,2}(?:忘|删|清|抹)"
    r"|[把将](?:所有|全部|一切)[^，。于]{0,8}?(?:忘|删|清|抹)"
)
