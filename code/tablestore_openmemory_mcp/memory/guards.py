"""What is not taken into a memory: texts that hold credentials.

A table of our own: scanners of source code know vendors' prefixes too, but no Chinese, and take a sentence about a
password for one.
"""

import re

from ..errors import InvalidInput

# Names of secrets. What goes on in letters is another word: tokenizer, secretary, secretKeyRef, access keys.
_LOGIN = r"(?:password|passwd|passphrase|\bpwd|密码|密碼|口令)"
_KEY = (
    r"(?:(?:client|app)?[ _-]?secret(?:[ _-]?access)?(?:[ _-]?key)?|(?:api|access|account|private)[ _-]?key"
    r"(?:[ _-]?secret)?|token|密钥|密鑰|私钥|令牌)"
)
_WHERE = r"(?:_(?:prod|production|dev|test|staging|live|backup|\d{1,2}))?"
_SAYS = _WHERE + r"(?![a-z])[\"'`”]?\s*(?:is|was|=|:|：|是|就是|为|改成了?|换成了?|设成了?)+\s*[\"'`“]?"
# Not a secret but where it is kept, a place for one, or how one is made.
_REAL = r"(?![<$]|(?:os|process|config|settings|env)\.|[a-z_][\w.]{0,60}\(|(?:argon|bcrypt|oauth|jwt|sha|aes|rsa)-?\d)"
_MIXED = r"(?=[!-~]{0,80}[a-z])(?=[!-~]{0,80}\d)[!-~]"  # a value of letters alone is more often a word than a secret

# Shapes that vendors document, and a secret given to a telling name.
_CREDENTIALS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\bAGE-SECRET-KEY-1[0-9A-Z]{40,}",
    "a cloud access key": (
        r"\bLTAI[0-9A-Za-z]{12,28}\b|\bSTS\.[0-9A-Za-z]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAKID[0-9A-Za-z]{32}\b"
        r"|\bAKLT[0-9A-Za-z]{20,}|\bya29\.[\w-]{20,}"
    ),
    "an API key": (
        r"\bsk-(?=[\w-]{0,80}\d)[\w-]{16,}|\bAIza[\w-]{35}|\b[sr]k_(?:live|test)_[0-9A-Za-z]{16,}|\bkey-[0-9a-f]{32}\b"
        r"|\b(?:hf|gsk|r8|whsec|figd|ntn|secret)_[0-9A-Za-z]{30,}|\bdop_v1_[0-9a-f]{40,}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
        r"|\b(?:pplx|xai|nvapi|tvly|m0|sq0csp)-(?=[\w-]{0,80}\d)[\w-]{24,}|\bshp(?:at|ss)_[0-9a-f]{32}\b"
    ),
    "an access token": (
        r"\bgh[oprsu]_[0-9A-Za-z]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bnpm_[0-9A-Za-z]{36}|\bpypi-[\w-]{40,}"
        r"|\bxox[abprs]-[0-9A-Za-z-]{10,}|\bxapp-\d-[0-9A-Za-z-]{10,}|\b\d{8,10}:AA[\w-]{33}\b|\bATATT3x[\w-]{20,}"
        r"|\b[Bb]earer\s+(?=\S{0,80}\d)[\w.~+/=-]{20,}|\b[Aa]uthorization[\"']?\s*[:=]\s*[\"']?(?:Basic|Token)\s+[\w+/=-]{8,}"
    ),
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "a webhook's address": (
        r"\bhooks\.slack\.com/services/\w+/\w+/\w+|\bdiscord(?:app)?\.com/api/webhooks/\d+/[\w-]+"
        r"|\bqyapi\.weixin\.qq\.com/cgi-bin/webhook/send\?key=\S+|\bopen\.feishu\.cn/open-apis/bot/v2/hook/\S+"
    ),
    "a password in a URL": r"\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]*:[^\s/@]{3,}@",
    "a password": (
        rf"(?i:{_LOGIN}{_SAYS}{_REAL}(?:{_MIXED}{{6,}}|\d{{6,}})|(?:密码|口令)\s*(?:{_MIXED}{{8,}}|\d{{6,}}))"
    ),
    "a secret": rf"(?i:{_KEY}{_SAYS}{_REAL}{_MIXED}{{8,}})",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _CREDENTIALS.items()}


def refuse_credentials(text: str) -> None:
    """Raises InvalidInput that says what `text` seems to hold, without repeating it."""
    for kind, pattern in _PATTERNS.items():
        if pattern.search(text):
            raise InvalidInput(
                f"The text seems to hold {kind}. Every client of this memory could read it, so it was not stored; "
                "leave it out, or set ALLOW_CREDENTIALS=true"
            )
