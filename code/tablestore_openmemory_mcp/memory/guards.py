"""What is not taken into a memory: texts that hold credentials."""

import re

from ..errors import InvalidInput

# Shapes that vendors document, and a secret assigned to a telling name; a value without both letters and digits is
# more often a word ("the password is required") than a secret.
_CREDENTIALS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an Alibaba Cloud access key": r"\bLTAI[0-9A-Za-z]{12,28}\b|\bSTS\.[0-9A-Za-z]{16,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an API key": r"\bsk-[0-9A-Za-z_-]{16,}|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "an access token": r"\bgh[oprsu]_[0-9A-Za-z]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bnpm_[0-9A-Za-z]{36}",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]{3,}@",
    "a password or secret": (
        r"(?:password|passwd|\bpwd|secret|api[ _-]?key|access[ _-]?key|token|passphrase|密码|口令|密钥|令牌)\w*"
        r"\s*(?:is|are|was|=|:|：|是|为)+\s*[\"'`“]?(?=[!-~]*[A-Za-z])(?=[!-~]*\d)[!-~]{8,}"
    ),
}
_PATTERNS = {
    kind: re.compile(pattern, re.IGNORECASE if "password" in kind else 0) for kind, pattern in _CREDENTIALS.items()
}


def refuse_credentials(text: str) -> None:
    """Raises InvalidInput that says what `text` seems to hold, without repeating it."""
    for kind, pattern in _PATTERNS.items():
        if pattern.search(text):
            raise InvalidInput(
                f"The text seems to hold {kind}. Every client of this memory could read it, so it was not stored; "
                "leave it out, or set ALLOW_CREDENTIALS=true"
            )
