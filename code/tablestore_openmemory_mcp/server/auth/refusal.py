"""How the door says no."""


class Refused(Exception):
    """The request may not pass. `sentence` is for the person behind it."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}
