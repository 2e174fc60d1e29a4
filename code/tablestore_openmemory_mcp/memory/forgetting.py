"""What a fact asks of the memory itself, instead of saying something about the person."""

import re

# What is to be forgotten must be the speaker's, or the memory's: "Remove trailing whitespace" is a preference.
_FORGET = re.compile(
    r"^(请|麻烦|帮我|你|(我|用户)?(要求|希望|想让?|让|要)你?)*"
    r"(忘掉|(忘[记了]|(不要|别)再?记[住得]?|删除|删掉)了?"
    r"(?=(我|关于|有关|之前|以前|刚才|这|那|其|它|他|她|你|所有|全部|一切)|.*(记忆|偏好|信息)$))"
    r"|^(the )?(user )?(please |(wants?|asks?|asked) |you |me |us |to )*"
    r"(forget\b|(delete|erase|remove)\b(?=.* (about me|memories|(my|your|the|this|that) memory)\b"
    r"|.* (preferences?|information)\W*$"
    r"| ((all|any|the|of) )*(my|me|his|her|their|(the )?user's|it|that|this|everything|what|memories)\b))",
    re.IGNORECASE,
)


def is_forgetting(fact: str) -> bool:
    """Whether `fact` asks to forget something remembered, rather than states something."""
    return bool(_FORGET.search(fact))


def is_instruction(fact: str) -> bool:
    """PLACEHOLDER until part guards lands."""
    return bool(re.search(r"^(ignore|disregard) (all |the )?previous instructions", fact, re.IGNORECASE))
