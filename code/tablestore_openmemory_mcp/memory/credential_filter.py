"""What is not taken into a memory: texts that hold credentials.

A table of our own: scanners of source code know vendors' prefixes too, but no Chinese, and take a sentence about a
password for one. A secret is what looks random after a vendor's prefix or after a name that says what it is, and what
stands where a password belongs. A reference to where it is kept, a place for one, words with hyphens and public
addresses are none. `tests/memory/test_guards.py` measures it on lists of sentences.

Each pattern starts at few places and looks at a bounded number of characters from there: the whole is linear.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping

from ..errors import InvalidInput

_SHORTEST, _LONG = 10, 20  # characters of a key that is joined to its name by "is" or "=", and by a space only
_VALUE = r"[!#-&(-+\--:<-_a-~]{1,400}"  # printable ASCII, but for quotes, commas and semicolons

# Random bytes after what vendors put before them: looked for where an unbroken run begins.
_VENDORS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:LTAI|AKI[AD]|ASIA|AKLT)[0-9A-Za-z]{12,64}"
    r"|(?:sk|rk|pk)[-_](?:live|test|prod)_[0-9A-Za-z]{16,}|sk-[\w-]{16,}"
    r"|gh[oprsu]_[0-9A-Za-z]{30,}|github_pat_\w{30,}|gl(?:pat|rt|dt|ptt|soat|ft)-[\w-]{20,}"
    r"|npm_[0-9A-Za-z]{30,}|pypi-[\w-]{40,}|rubygems_[0-9a-f]{40,}|dckr_pat_[\w-]{20,}"
    r"|AIza[\w-]{30,}|GOCSPX-[\w-]{20,}|1//0[\w-]{30,}|ya29\.[\w-]{20,}|STS\.[0-9A-Za-z]{16,}"
    r"|(?:hf|gsk|r8|api_org|sgp(?:_local)?|whsec|figd|ntn|secret|sbp|glsa|sntrys|pscale_tkn|lin_api|fo1)_[\w-]{30,}"
    r"|(?:pplx|xai|nvapi|tvly|m0|sq0csp)-[\w-]{24,}|key-[0-9a-f]{32}|dapi[0-9a-f]{32}|SEC[0-9a-f]{64}"
    r"|shp(?:at|ss|ca|pa)_[0-9a-f]{32}|do[por]_v1_[0-9a-f]{40,}|\d{14,17}\|[\w-]{26,28}|EAA[A-Z][0-9A-Za-z]{90,}"
    r"|xox[abeprs]-[0-9A-Za-z-]{10,}|xapp-\d-[0-9A-Za-z-]{10,}|(?:bot)?\d{8,10}:AA[\w-]{33}|ATATT3x[\w-]{20,}"
    r"|SG\.[\w-]{16,64}\.[\w-]{16,64}|hv[sb]\.[\w-]{20,}|pat\w{14}\.[0-9a-f]{64}"
    r"|[\w.~]{3}\dQ~[\w.~-]{30,36}"
    r"|[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27,40}"
    r")",
    re.ASCII,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----|AGE-SECRET-KEY-1[0-9A-Z]{40}")
_DOTTED = re.compile(r"[\w.-]+", re.ASCII)
_WEBHOOKS = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows)/(?:\w{1,20}/){2,3}|discord(?:app)?\.com/api/webhooks/\d{1,24}/"
    r"|qyapi\.weixin\.qq\.com/cgi-bin/webhook/send\?key=|open\.feishu\.cn/open-apis/bot/v2/hook/"
    r"|oapi\.dingtalk\.com/robot/send\?access_token=)([\w-]{8,100})",
    re.ASCII,
)
_IN_URL = re.compile(r"://(?:([^\s/:@\"'<>]{0,64}):([!-.0-?A-~]{3,128})@|([\w-]{20,128})@)", re.ASCII)
_HEADER = re.compile(r"(?i:\bBearer\s{1,4}|authorization[\"']?\s?[:=]\s?[\"']?Token\s)([\w.~+/=-]{16,2000})", re.ASCII)
_BASIC = re.compile(r"(?i:\bBasic\s)([0-9A-Za-z+/]{8,400}={0,2})")
_COMMAND = re.compile(
    r"\b(?:docker login|sshpass|mysql(?:dump|admin)?)\b[^\n|;]{0,80}?\s-p\s?[\"']?(" + _VALUE + r")"
    r"|\bcurl\b[^\n|;]{0,200}?\s(?:-u|--user)\s{1,4}[\"']?[\w.@-]{0,64}:[\"']?(" + _VALUE + r")"
    r"|\bhtpasswd\s-\w{0,4}b\w{0,4}\s\S{1,100}\s\S{1,64}\s(" + _VALUE + r")"
    r"|\becho\s[\"']?(" + _VALUE + r")[\"']?\s?\|\s?docker login"
)

# A name, what joins it to its value, and the value. What goes on in letters is another word: tokenizer, access keys.
_VARIANT = r"(?:_(?:prod|production|dev|test|staging|live|backup|\d{1,2}))?(?![a-z])(?!_[a-z])"
_LOGIN = re.compile(
    r"(?:password|passwd|passphrase|passcode|\bpwd?|(?<![a-z])pass|\bpin)" + _VARIANT + r"|密码|密碼|口令",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?<!public[ _-])(?<!public)(?<!csrf[ _-])(?<!csrf)"
    r"(?:secret(?:[ _-]?access)?(?:[ _-]?key)?|(?:api|app|access|account|private|license|encryption|signing)[ _-]?key"
    r"(?:[ _-]?secret)?"
    r"|(?<!primary_)(?<!foreign_)(?<!cache_)(?<!sort_)(?<!partition_)(?<!idempotency_)(?<!object_)"
    r"(?<=[a-z]_)key|secret_key_base|token|[?&]sig|\b[as]k(?=\s?[=:：是]))" + _VARIANT + r"|密钥|密鑰|私钥|私鑰|令牌",
    re.IGNORECASE,
)
_ABOUT = r"(?:\s(?:for|of|to|on)(?:\s[\w'.-]{1,24}){1,5}?|\s?[(（][^()（）\n]{1,40}[)）])?"
_JOIN = re.compile(
    _ABOUT + r"[\"'`”’]?\s{0,4}(?:=|->|:|：|\s(?:is|was)\b(?:\s(?:now|changed to|set to|reset to)\b)?"
    r"|已?经?(?:就?是|改[成为]|换[成为]|设[成为]|就?用的?|为)了?)\s?[=:：]?>?\s{0,4}[\"'`“‘]?(?=[!-~])",
    re.IGNORECASE,
)
_SPACE = re.compile(r"(?:(?<=[\u4e00-\u9fff])|[ \t/]{1,3})[\"'`“]?(?=[!-~])")
_VALUE_AT = re.compile(_VALUE)
_ACCOUNT = re.compile(r"\b(?:login|user(?:name)?|account|root|admin|wi-?fi)\b|账号|帐号|用户名", re.IGNORECASE)

_REFERENCE = re.compile(
    r"[<{\[/~*.]|\$[{(]|\$\w+$|%\w+%|#\{|(?:https?|op|vault|file|secret|ssm)://|arn:|projects/|ENC[\[(]|vault:"
    r"|(?:os|process|config|settings|env|import|secrets|self|this|ctx)\.|[A-Za-z_][\w.]{0,60}[(\[]",
)
_PLACEHOLDER = re.compile(
    r"[\W_]{0,8}(?:x{3,}|\*|\.{3}|change[-_]?(?:me|it)|replace[-_]?(?:me|it)|todo|redacted|placeholder|dummy|example"
    r"|sample|your?[-_]|my[-_]|password|passwd|secret|token|insecure|(?:pass|pw|pwd|guest|none|null|undefined)\W{0,8}$)",
    re.IGNORECASE,
)
_PLACE_INSIDE = re.compile(r"x{6}|your[_-]|[_-]here\b", re.IGNORECASE)
_MADE_BY = re.compile(  # how a secret is made or kept, in place of one
    r"(?:(?:argon|bcrypt|scrypt|pbkdf|oauth|jwt|base|uuid|openssl|gpg|1password|keepass|lastpass|bitwarden|pkcs|hmac|totp"
    r"|fido|webauthn|kerberos|ldap)\W?\d{0,5}[a-z]{0,8}|(?:sha|md|aes|rsa|hs|rs|es|ed|x|utf)-?\d{1,5})(?![\w!@#$%^&*+=?])",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}(?![0-9a-fA-F])")
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)++$")
_WORDY_PIECE = re.compile(r"[A-Za-z]*\d{0,4}|\d+[A-Za-z]{0,2}|[A-Za-z]\d{1,3}[A-Za-z]?")
_SEPARATORS = re.compile(r"[-_./:@+]")
_LOWER_RUN = re.compile(r"[A-Z]?[a-z]{3,}")
_MARK_INSIDE = re.compile(r"[!@#$%^&*+=?]\w")
_GOES_ON = re.compile(r"[\"'`”’]?\s?[\u4e00-\u9fff]")
_AFTER = "了吧啊呢哦，。；、和或端登别请"


def refuse_credentials(text: str) -> None:
    """Raises InvalidInput that says what `text` seems to hold, without repeating it."""
    for kind, holds in _KINDS.items():
        if holds(text):
            raise InvalidInput(
                f"The text seems to hold {kind}. Every client of this memory could read it, so it was not stored; "
                "leave it out, or set ALLOW_CREDENTIALS=true"
            )


def _looks_random(run: str) -> bool:
    """Whether `run` is a machine's: letters and digits in no order, rather than words with numbers."""
    upper, lower = sum(map(str.isupper, run)), sum(map(str.islower, run))
    if any(map(str.isdigit, run)):
        in_order = not upper + lower or all(_WORDY_PIECE.fullmatch(piece) for piece in _SEPARATORS.split(run))
    else:
        in_order = upper < 5 or lower < 5 or len(run) < _LONG
    if in_order or _PLACE_INSIDE.search(run):
        return False
    return sum(len(word) for word in _LOWER_RUN.findall(run)) < 0.6 * len(run) and len(set(run)) > 5


def _is_real(value: str) -> bool:
    """Neither a reference to a secret nor a place for one."""
    return not (_REFERENCE.match(value) or _PLACEHOLDER.match(value) or _ENVIRONMENT.match(value))


def _looks_chosen(value: str, shortest: int = 6) -> bool:
    """Whether `value` is a password as people choose them: not only letters."""
    if len(value) < shortest or not _is_real(value) or _MADE_BY.match(value) or value.count("/") > 1:
        return False
    if any(map(str.isdigit, value)):
        return value.isdigit() or any(map(str.isalpha, value))
    mixed = len(value) >= 8 and value.lower() != value != value.upper()
    words = sum(len(word) for word in _LOWER_RUN.findall(value))
    return mixed and (_MARK_INSIDE.search(value) is not None or (len(value) >= 10 and words < 0.5 * len(value)))


def _vendors_key(text: str) -> bool:
    return any(
        _looks_random(found[0]) or (found[0].startswith(("AKIA", "ASIA")) and len(set(found[0])) > 8)
        for found in _VENDORS.finditer(text)
    )


def _web_token(text: str) -> bool:
    for run in _DOTTED.finditer(text):
        parts = run[0].split(".") if "eyJ" in run[0] else []
        if any(
            "eyJ" in head and payload.startswith("eyJ") and len(payload) > 10 and len(signature) > 7
            for head, payload, signature in zip(parts, parts[1:], parts[2:], strict=False)
        ):
            return True
    return False


def _in_url(text: str) -> bool:
    for found in _IN_URL.finditer(text):
        user, password, token = found.groups()
        if token and _looks_random(token):
            return True
        if password and password != user and _is_real(password) and not password.isupper():
            return True
    return False


def _header(text: str) -> bool:
    if any(_looks_random(found[1]) for found in _HEADER.finditer(text)):
        return True
    return any(_holds_colon(found[1]) for found in _BASIC.finditer(text))


def _holds_colon(encoded: str) -> bool:
    """Whether the base64 is that of `user:password`."""
    try:
        return b":" in base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=False)[:200]
    except (binascii.Error, ValueError):
        return False


def _command(text: str) -> bool:
    return any(_looks_chosen(value) for found in _COMMAND.finditer(text) for value in found.groups() if value)


def _values(text: str, name: re.Pattern[str], join: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str, str]]:
    """Each name in `text` with the value that is joined to it, and up to three characters that follow."""
    for named in name.finditer(text):
        joined = join.match(text, named.end())
        value = _VALUE_AT.match(text, joined.end()) if joined else None
        if value:
            yield named, value[0].rstrip(".:!?)]}") or value[0], text[value.end() : value.end() + 3]


def _password(text: str) -> bool:
    for named, value, after in _values(text, _LOGIN, _JOIN):
        name = named[0].lower()
        if name in ("pass", "pw") and text[named.start() - 1 : named.start()] != "_" and not _has_account(text, named):
            continue  # a mountain pass, tests that pass
        if _looks_chosen(value, 4 if name == "pin" and value.isdigit() else 6) and _ends(after):
            return True
    for named, value, after in _values(text, _LOGIN, _SPACE):
        if not _looks_chosen(value, 6 if value.isdigit() else 8) or not _ends(after):
            continue
        if not named[0].isascii() or _has_account(text, named):
            return True
    return False


def _has_account(text: str, named: re.Match[str]) -> bool:
    return _ACCOUNT.search(text, max(0, named.start() - 60), named.start()) is not None


def _ends(after: str) -> bool:
    """Whether the sentence ends with the value: 密码是1Password生成的 tells how it was made."""
    goes_on = _GOES_ON.match(after)
    return goes_on is None or goes_on[0][-1] in _AFTER


def _secret(text: str) -> bool:
    for join, shortest in ((_JOIN, _SHORTEST), (_SPACE, _LONG)):
        for named, value, _ in _values(text, _KEY, join):
            private = "private" in named[0].lower() or named[0][0] == "私"
            if len(value) < shortest or not _is_real(value) or (_ADDRESS.match(value) and not private):
                continue
            if _looks_random(value):
                return True
    return False


_KINDS: Mapping[str, Callable[[str], bool]] = {
    "a private key": lambda text: _PRIVATE_KEY.search(text) is not None,
    "a vendor's key or token": _vendors_key,
    "a JSON web token": _web_token,
    "a webhook's address": lambda text: any(_looks_random(found[1]) for found in _WEBHOOKS.finditer(text)),
    "a password in a URL": _in_url,
    "an authorization header": _header,
    "a password on a command line": _command,
    "a password": _password,
    "a secret": _secret,
}
