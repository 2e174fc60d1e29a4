"""What the fake model knows of the world: words that mean much the same, and questions that have one answer."""

import re
from collections.abc import Iterator
from pathlib import Path


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


_ROWS = [line.split(": ", 1) for line in _read("concepts.txt").splitlines() if not line.startswith("#")]
CONCEPTS = {name.lstrip("~"): words for name, words in _ROWS}
LIGHT = frozenset(name.lstrip("~") for name, _ in _ROWS if name.startswith("~"))

STOP_WORDS = frozenset(_read("stop_words.txt").split())

# One question, one answer: a new fact on the same question about the same person replaces the old one.
QUESTIONS: dict[str, str] = {
    "variable naming": r"变量.*(命名|名)|命名变量|variables?\b.*\b(nam|case)|(nam\w+|case)\b.*\bvariables?",
    "constant naming": r"常量.*(命名|名)|命名常量|constants?\b.*\b(nam|case)|(nam\w+|case)\b.*\bconstants?",
    "function naming": r"函数.*(命名|名)|命名函数|functions?\b.*\b(nam|case)|(nam\w+|case)\b.*\bfunctions?",
    "class naming": r"类名|类.*命名|class(es)?\b.*\b(nam|case)|(nam\w+|case)\b.*\bclass(es)?\b",
    "indentation": r"缩进|\bindent",
    "quotes": r"引号|\bquotes?\b",
    "comment language": r"注释|\bcomments?\b",
    "line length": r"行宽|每行.*字符|line length|characters? per line",
    "theme": r"主题|\btheme\b|dark mode|light mode",
    "editor": r"编辑器|\beditor\b|写代码.*(VS ?Code|Vim|Emacs|PyCharm|Cursor)",
    "residence": r"住在|居住|定居|搬到|搬去|搬家|\bliv(e|es|ing) in\b|\bmov(e|ed|ing) to\b|\breloca",
    "spiciness": r"辣|清淡|\bspicy\b|\bchil+i",
    "meat": r"素食|吃素|吃肉|\bvegetarian\b|\bvegan\b|eats? meat",
    "coffee or tea": r"(喝|爱|要|换|改).{0,4}(咖啡|茶)|(coffee|tea)\b",
    "job": r"工作是|职业|担任|(做|当|是).{0,8}(工程师|程序员|老师|医生|设计师|经理)|works? as|"
    r"\bis an? .*(engineer|teacher|doctor|designer|manager)",
    "employer": r"就职|入职|在.{1,12}(公司|阿里|腾讯|华为|字节).{0,4}(工作|上班)|works? (at|for)\b|\bjoined\b",
    "name": r"(名字|姓名)(是|叫)|名叫|叫我|\bname is\b|\bcalled\b|call me",
    "wake-up time": r"起床|早起|\bw[ao]kes? up|gets? up at",
    "commute": r"通勤|上班.*(地铁|公交|开车|骑车)|\bcommut",
    "phone": r"手机(是|用)|用的是.*手机|uses? an? (iphone|android|pixel)",
    "pet": r"养了|养着|(has|have|got) an? .*(dog|cat|puppy|kitten)",
    "films": r"(看|喜欢).{0,8}(电影|片)$|favou?rite (film|movie)",
    "favourite colour": r"最喜欢.{0,4}色|favou?rite colou?r",
    "birthday": r"生日|\bbirthday\b",
    "weekly meeting": r"(周会|例会|站会)|weekly meeting|\bstandup\b",
    "trip": r"(打算|计划|准备|要)去.{1,10}(旅行|旅游|玩|度假)|(trip|vacation|holiday) to\b",
}

_PERSONS = {
    "mother": r"妈妈|母亲|我妈|\bm(other|om|um)\b",
    "father": r"爸爸|父亲|我爸|\b(father|dad)\b",
    "spouse": r"妻子|老婆|丈夫|老公|女朋友|男朋友|\b(wife|husband|girlfriend|boyfriend)\b",
    "child": r"儿子|女儿|孩子|\b(son|daughter|child|kid)s?\b",
    "sibling": r"哥哥|姐姐|弟弟|妹妹|\b(brother|sister)\b",
    "friend": r"朋友|同事|室友|邻居|\b(friend|colleague|roommate|neighbou?r)\b",
}

_CJK = re.compile(r"[㐀-鿿]")
WORD = re.compile(r"[a-z0-9]+(?:[_+#.'-][a-z0-9+#]+)*\+*")


def is_chinese(text: str) -> bool:
    return bool(_CJK.search(text))


def stem(word: str) -> str:
    """A light English stem; identifiers (with digits or underscores) are left alone."""
    if not word.isalpha():
        return word
    for ending in ("ing", "ied", "ies", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + ("y" if ending.startswith("ie") else "")
            break
    return word.removesuffix("e")


def _compile() -> tuple[dict[str, list[str]], dict[str, list[str]], re.Pattern[str]]:
    latin: dict[str, list[str]] = {}
    chinese: dict[str, list[str]] = {}
    for concept, words in CONCEPTS.items():
        for word in words.lower().split():
            table, key = (chinese, word) if is_chinese(word) else (latin, stem(word))
            if concept not in table.setdefault(key, []):
                table[key].append(concept)
    longest_first = sorted(chinese, key=len, reverse=True)
    return latin, chinese, re.compile("|".join(map(re.escape, longest_first)))


_LATIN, _CHINESE, _CHINESE_WORD = _compile()


def concepts(text: str) -> Iterator[str]:
    """The concepts that `text` names, as often as it names them."""
    text = text.lower()
    for match in _CHINESE_WORD.finditer(text):
        yield from _CHINESE[match[0]]
    for match in WORD.finditer(text):
        yield from _LATIN.get(stem(match[0]), ())


def question(text: str) -> tuple[str, str] | None:
    """(whose, which question) `text` answers, or None if it is not one of QUESTIONS."""
    for name, pattern in QUESTIONS.items():
        if re.search(pattern, text, re.IGNORECASE):
            person = next((p for p, words in _PERSONS.items() if re.search(words, text, re.IGNORECASE)), "self")
            return person, name
    return None
