"""What hurts in production, on demand: errors, dropped connections, slow answers, things not ready yet, a wrong clock.

Which calls a rule hits depends only on the seed and on the calls made, never on time.
"""

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self


class InvalidFault(ValueError):
    """A fault that cannot be; the text says why."""


@dataclass(slots=True)
class Rule:
    """One fault. It hits calls of `apis` (none named: all), after the first `skip` of them, `times` times at most,
    each with `probability`; then it answers `error`, drops the connection, or waits `delay` seconds (or waits, then
    does the other). `when` "before": nothing has happened yet; "after": the call took effect, only the answer suffers.
    With `per_row`, an error hits single rows of BatchWriteRow and BatchGetRow instead of the call.
    """

    apis: tuple[str, ...] = ()
    error: str | None = None
    message: str | None = None
    drop: bool = False
    delay: float = 0.0
    when: Literal["before", "after"] = "before"
    probability: float = 1.0
    skip: int = 0
    times: int | None = None
    per_row: bool = False
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        self.apis = (self.apis,) if isinstance(self.apis, str) else tuple(self.apis)
        if self.when not in ("before", "after"):
            raise InvalidFault("when is 'before' or 'after'")
        if not (self.error or self.drop or self.delay > 0):
            raise InvalidFault("a fault needs an error, drop, or a delay")
        if (
            not 0 <= self.probability <= 1
            or self.delay < 0
            or self.skip < 0
            or (self.times is not None and self.times < 0)
        ):
            raise InvalidFault("probability is in [0, 1]; delay, skip and times are not negative")
        if self.per_row and (self.drop or not self.error or self.when == "after"):
            raise InvalidFault("a fault per row is an error before the row is touched")

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From JSON. Raises InvalidFault."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise InvalidFault(f"a fault has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as e:
            raise InvalidFault(str(e)) from None

    def hits(self, api: str, rng: random.Random) -> bool:
        """Whether this call is hit; counts it."""
        if (self.apis and api not in self.apis) or (self.times is not None and self.fired >= self.times):
            return False
        self.seen += 1
        if self.seen <= self.skip or rng.random() >= self.probability:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Faults:
    """All faults of one emulator. Durations in seconds; changed at any time, they count from then on."""

    seed: int = 0
    rules: list[Rule] = field(default_factory=list)
    table_ready_after: float = 0.0  # from creation until rows can be read and written (OTSTableNotReady)
    index_ready_after: float = 0.0  # from creation of a search index until it can be searched
    index_lag: float = 0.0  # from a write until search sees it
    replica_lags: tuple[float, ...] = (0.0,)  # of each copy of a search index, on top; searches take turns over them
    clock_skew: float = 0.0  # of the server's clock
    _rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 - which calls are hit is no secret

    def pick(self, api: str) -> Rule | None:
        """The first rule that hits this call."""
        return next((rule for rule in self.rules if not rule.per_row and rule.hits(api, self._rng)), None)

    def pick_row(self, api: str) -> Rule | None:
        """The first rule that hits this row of a batch."""
        return next((rule for rule in self.rules if rule.per_row and rule.hits(api, self._rng)), None)

    def change(self, values: dict[str, Any]) -> None:
        """Set what `values` names; `rules` replaces all rules, a seed starts the random numbers anew.

        Raises InvalidFault, and changes nothing then.
        """
        unknown = sorted(values.keys() - {f.name for f in fields(self) if not f.name.startswith("_")})
        if unknown:
            raise InvalidFault(f"there is no setting {', '.join(unknown)}")
        checked = dict(values)
        try:
            if "rules" in checked:
                checked["rules"] = [Rule.of(rule) for rule in checked["rules"]]
            if "seed" in checked:
                checked["seed"] = int(checked["seed"])
            if "replica_lags" in checked:
                checked["replica_lags"] = tuple(float(lag) for lag in checked["replica_lags"]) or (0.0,)
            for name in checked.keys() & {"table_ready_after", "index_ready_after", "index_lag", "clock_skew"}:
                checked[name] = float(checked[name])
        except (TypeError, ValueError) as e:
            raise InvalidFault(str(e)) from None
        for name, value in checked.items():
            setattr(self, name, value)
        if "seed" in checked:
            self._rng = random.Random(self.seed)  # noqa: S311 - which calls are hit is no secret

    def describe(self) -> dict[str, Any]:
        """As JSON, with how often each rule has fired."""
        values = asdict(self)
        del values["_rng"]
        return values
