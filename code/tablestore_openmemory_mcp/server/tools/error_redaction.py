"""What of an error's text is only for whoever runs the server: paths, hosts, addresses, accounts.

The texts are made far from here, from what a file system, Tablestore or a model's vendor says. So they are looked at
where they leave: one that names such a place is replaced by a sentence that names none, and goes to the log instead.
"""

import logging
import re

from ...errors import ModelDenied, ModelError, ServiceError, StoreDenied, StoreError
from ..caller import Principal

logger = logging.getLogger(__name__)

_PLACES = re.compile(
    r"""
    (?: ^ | [\s"'(=,:;\[{<] ) ~? / [^\s/]          # /var/lib/x, ~/x
    | (?: ^ | [^A-Za-z0-9] ) [A-Za-z]:[\\/]         # C:\x
    | \\\\                                          # \\host\x
    | [A-Za-z][A-Za-z0-9+.-]{0,20}://               # an address
    | \b \d{1,3} (?: \.\d{1,3} ){3} \b              # 127.0.0.1
    | [0-9A-Fa-f]{0,4} : [0-9A-Fa-f]{0,4} : [0-9A-Fa-f:.]*  # ::1
    | \b localhost \b
    | (?: [A-Za-z0-9_-]{1,63} \. ){2,10} [A-Za-z]{2,24} \b  # mine.cn-hangzhou.ots.aliyuncs.com
    | \b [A-Za-z0-9-]{1,63} \. (?: com | net | org | io | ai | dev | cn | local | internal | test ) \b
    | \b (?: acs | arn ) :
    | \b (?: org | proj | req | user | acct )[-_] [A-Za-z0-9]{8}
    | \d{10}                                        # an account's number
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 2_000  # characters looked at; a longer text is no sentence for anybody


def said_to(principal: Principal, error: ServiceError) -> str:
    """The error's text as `principal` may read it. What is withheld is logged, under the request's id."""
    told = str(error)
    if operates(principal):
        return f"{told.rstrip('.')}: {error.detail}" if isinstance(error, StoreError) and error.detail else told
    if not isinstance(error, StoreError | ModelError) or not names_a_place(told):
        return told
    logger.warning("not told to the caller: %s", told)
    see = f" (see {error.setting})" if error.setting else ""
    return f"{_instead(error)}; whoever runs this server finds more in its log{see}."


def operates(principal: Principal) -> bool:
    """Whether it is the user who runs this server: its own machine's, or the parent that started it. A token is not,
    even one for all users: it may be used from anywhere."""
    return principal.kind in ("local", "stdio")


def names_a_place(text: str) -> bool:
    """Whether `text` tells where something is or whose."""
    return len(text) > _LONGEST or _PLACES.search(text) is not None


def _instead(error: ServiceError) -> str:
    if isinstance(error, StoreError):
        return "The memory store refused access" if isinstance(error, StoreDenied) else "The memory store failed"
    return "The model refused access" if isinstance(error, ModelDenied) else "The model failed"
