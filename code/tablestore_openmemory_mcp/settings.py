"""Every environment variable, in one typed place.

`Settings.load(environ)` is the only door: it takes a mapping, never reads `os.environ` itself, and raises
ConfigurationError with one readable line per mistake. No line ever holds a value that could be a secret.
Names and defaults come from the reference's documentation (section 5.2) and its release 1.3.1; the last group is ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import platformdirs
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from . import embedding_choice
from .embedding_choice import LOCAL_DIMENSION
from .scope import InvalidName, valid_name
from .values import folder, json_list, key_mistake, mistake, sentence, switch, trimmed, weak_secrets

APP_NAME = "tablestore-openmemory-mcp"

TOOL_NAMES = frozenset(
    {"add_memories", "search_memories", "list_memories", "delete_all_memories"}
    | {"get_memory", "update_memory", "delete_memories", "memory_history"}  # with EXTRA_TOOLS
)

ADD_DESCRIPTION = (
    "Remember something about the user for later conversations. Call it whenever the user states a fact, a preference, "
    "a plan or a correction, or asks you to remember something. Pass what was said, in the user's own language; facts "
    "are extracted, and memories that they correct are updated."
)
SEARCH_DESCRIPTION = (
    "Search the user's long-term memory. Call it before you answer anything that may depend on what the user said "
    "earlier or elsewhere: preferences, plans, people, places, code style. Returns the best matches first."
)
LIST_DESCRIPTION = "List all memories of the user, newest first."
DELETE_ALL_DESCRIPTION = (
    "Delete ALL memories of the user, for good. Call it only when the user has clearly asked for exactly that."
)
USER_ID_DESCRIPTION = "Whose memory it is, if not the connection's user. Only if you were told one."


class ConfigurationError(Exception):
    """The environment cannot be used. `lines`: one sentence per mistake, each naming the variable and the fix."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _name(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        try:
            return valid_name(value, what) if isinstance(value, str) else value
        except InvalidName as e:
            raise ValueError(str(e)) from None

    return BeforeValidator(check)


_URL = r"^https?://\S+$"
_URL_HINT = "an address that begins with https://"

Name = Annotated[str, _name("the name")]
Port = Annotated[int, Field(ge=0, le=65535)]

# Settings that mean nothing in a deployment on Function Compute; its s.yaml passes every other (tests/fc).
LOCAL_ONLY = frozenset(
    {
        *("server_host", "server_port", "fc_function_name", "host_credentials"),  # Function Compute's own
        *("tablestore_access_key_id", "tablestore_access_key_secret", "tablestore_sts_token"),  # the role's
        *("store", "data_dir"),  # a function has no disk to keep memories on
        *("mcp_stdio_user_id", "mcp_stdio_client_name"),
    }
)

# Settings that mean nothing to a server over stdio; the block that starts one carries every other that is set.
HTTP_ONLY = frozenset(
    {
        *("server_host", "server_port", "fc_function_name", "host_credentials"),
        *("mcp_auth", "mcp_public_url", "mcp_auth_secret", "mcp_allowed_origins"),
        *("mcp_auth_issuer", "mcp_auth_audience", "mcp_auth_jwks_url", "mcp_auth_user_claim"),
        *("max_sessions", "max_sessions_per_user", "max_calls_per_session", "sse_relay", "session_idle_timeout"),
    }
)
# And those that mean nothing to the embedded store.
CLOUD_ONLY = frozenset(
    {
        *("tablestore_instance_name", "tablestore_endpoint"),
        *("tablestore_access_key_id", "tablestore_access_key_secret", "tablestore_sts_token"),
    }
)

# Taken as a group, never mixed: keys written for this program win over those of the machine or the function's role.
_CREDENTIALS = (
    ("TABLESTORE_ACCESS_KEY_ID", "TABLESTORE_ACCESS_KEY_SECRET", "TABLESTORE_STS_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
MACHINE_CREDENTIALS = {ours.lower(): machines for ours, machines in zip(*_CREDENTIALS, strict=True)}


class ModelEndpoint(NamedTuple):
    """Where a model answers."""

    api_key: str
    base_url: str


class Settings(BaseModel):
    """The process's configuration. Field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # --- address
    server_host: str = "0.0.0.0"  # noqa: S104 - the reference's default; strangers get 401, see server/auth
    server_port: Port = 8765

    # --- Tablestore
    tablestore_instance_name: str | None = None
    tablestore_endpoint: str | None = Field(
        None,
        pattern=r"^https?://([^\s/\[\]]+|\[[0-9a-fA-F:.]+\](:\d+)?)/?$",
        description="an address such as https://mine.cn-hangzhou.ots.aliyuncs.com",
    )
    tablestore_access_key_id: str | None = None
    tablestore_access_key_secret: SecretStr | None = None
    tablestore_sts_token: SecretStr | None = None
    tablestore_vector_dimension: int = Field(1536, ge=1, le=4096)
    tablestore_table_name: str = Field(
        "mem0",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$",
        description="letters, digits and _, not beginning with a digit",
    )
    tablestore_search_memory_limit: int = Field(10, ge=1, le=1000)
    tablestore_search_memory_min_score: float = Field(0.0, ge=0, le=1)

    # --- the models, and what they are asked
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = Field(None, pattern=_URL, description=_URL_HINT)
    embedder_api_key: SecretStr | None = None  # the LLM's, unless the embedder is another's
    embedder_base_url: str | None = Field(None, pattern=_URL, description=_URL_HINT)
    embedder: embedding_choice.Choice = "auto"
    llm_model: str = "qwen-plus"
    embedder_model: str = "text-embedding-v4"
    mem0_fact_extraction_prompt: str | None = None
    mem0_update_memory_prompt: str | None = None

    # --- the tools
    tool_add_memories_description: str = ADD_DESCRIPTION
    tool_search_memories_description: str = SEARCH_DESCRIPTION
    tool_list_memories_description: str = LIST_DESCRIPTION
    tool_delete_all_memories_description: str = DELETE_ALL_DESCRIPTION
    extra_tools: Annotated[bool | Literal["auto"], BeforeValidator(switch)] = "auto"  # see `tools_by_id`
    tool_user_id_field_description: str = USER_ID_DESCRIPTION
    tool_user_id_argument: bool = False  # the reference's: tools may name another user, if the token allows
    tool_black_list: Annotated[tuple[str, ...], BeforeValidator(json_list)] = ()
    # --- whose memory it is over stdio
    mcp_stdio_user_id: Name = "stdio_default_user"
    mcp_stdio_client_name: Name = "stdio_default_client"

    # --- the store (from here on the settings are ours)
    store: Literal["auto", "embedded", "tablestore"] = "auto"
    data_dir: Annotated[Path, BeforeValidator(folder)] = Path(platformdirs.user_data_dir(APP_NAME, appauthor=False))
    # --- who may come in
    mcp_auth: Literal["auto", "token", "jwt", "anonymous"] = "auto"  # see server/auth
    mcp_public_url: str | None = Field(  # behind a proxy; implies tokens
        None,
        pattern=r"^https?://[^\s/]+/?$",
        description="an address without a path, such as https://memory.example.com",
    )
    mcp_auth_secret: SecretStr | None = None  # several, separated by commas: the first signs, all verify
    mcp_mint_key: SecretStr | None = None  # on Function Compute: with it an event may make or revoke tokens
    # These four for MCP_AUTH=jwt alone.
    mcp_auth_issuer: str | None = Field(None, pattern=_URL, description=_URL_HINT)
    mcp_auth_audience: str | None = None
    mcp_auth_jwks_url: str | None = Field(None, pattern=_URL, description=_URL_HINT)
    mcp_auth_user_claim: str = "sub"
    mcp_allowed_origins: Annotated[tuple[str, ...], BeforeValidator(json_list)] = ()  # web pages that may call us
    # --- what the host tells
    fc_function_name: str | None = None  # set by Function Compute: no one is local there
    host_credentials: bool = False  # found by `load`: the keys are the machine's or the role's, which may renew them
    # --- how memories are made and kept
    memory_pipeline: Literal["reconcile", "additive", "verbatim"] | None = None  # unset: see `pipeline`
    max_text_length: int = Field(32_000, ge=1, le=500_000)  # characters, of one add or query
    exact_search_limit: int = Field(2_000, ge=0)  # memories per scope; above it the search index helps
    max_memories: int = Field(50_000, ge=1)  # per scope
    history_retention_days: int = Field(0, ge=0, le=20_000)  # of what was corrected or deleted; 0: forever
    max_deletions_per_add: int = Field(5, ge=0)  # that the LLM may ask for in one call
    add_fallback: Literal["error", "verbatim"] = "error"  # what an add does while the LLM is away
    allow_credentials: bool = False  # whether texts that look like keys or passwords are stored
    llm_calls_per_user_per_day: int = Field(0, ge=0)  # 0: without bound
    # --- workers, and how long they may take
    # Threads, made when they are needed; each takes 0.2 MB. An add waits a second or more for its LLM: so many workers
    # are needed for 100 adds a second. Searches have their own, so that slow adds never delay one.
    add_workers: int = Field(128, ge=1, le=256)
    search_workers: int = Field(64, ge=1, le=256)
    add_timeout: float = Field(50, gt=0, le=3600)  # seconds; clients give up at 60
    shutdown_grace: float = Field(30, ge=0, le=600)  # seconds that running calls have after SIGTERM, or stdin's end
    # --- bounds
    max_body_size: int = Field(4_194_304, ge=1024)  # bytes of one HTTP request, or of one line over stdio
    max_result_size: int = Field(1_000_000, ge=10_000)  # bytes of one tool result
    max_sessions: int = Field(1_000, ge=1)  # SSE streams of this process
    max_sessions_per_user: int = Field(64, ge=1)
    max_requests_per_minute: int = Field(600, ge=1)  # tool calls of one user on this process
    max_calls_per_session: int = Field(32, ge=1)  # unanswered at once
    # --- streams
    sse_relay: Literal["auto", "on", "off"] = "auto"  # whether instances hand messages to each other; see server/relay
    session_idle_timeout: float = Field(21_600, gt=0)  # seconds without a message until a stream is closed
    # --- the log
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`, without white space around them; an empty one counts as unset. Raises
        ConfigurationError."""
        given = {k: trimmed(v) for k, v in environ.items() if trimmed(v)}
        values: dict[str, Any] = {k.lower(): v for k, v in given.items() if k.lower() in cls.model_fields}
        ours, machines = _CREDENTIALS
        group = ours if any(k in given for k in ours[:2]) else machines
        values.update({field.lower(): given.get(k) for field, k in zip(ours, group, strict=True)})
        values["host_credentials"] = group is machines
        try:
            return cls(**values)
        except ValidationError as e:
            names = {field.lower(): k for field, k in zip(ours, group, strict=True)}
            hints = {name: str(field.description) for name, field in cls.model_fields.items()}
            errors = e.errors(include_input=False)
            lines = [line for error in errors for line in sentence(error, names, hints).splitlines()]
            raise ConfigurationError(lines) from None

    @field_validator("*", mode="before")
    @classmethod
    def _usable(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        value, field = trimmed(value), str(info.field_name)
        why = mistake(value, many_lines=field in cls._many_lines())
        if why is None and field in cls.key_fields():
            why = key_mistake(value)
        if why is not None:
            raise ValueError(why)
        return value

    @classmethod
    def secret_fields(cls) -> frozenset[str]:
        """The fields whose values are shown to nobody."""
        secret = {name for name, field in cls.model_fields.items() if "SecretStr" in str(field.annotation)}
        return frozenset(secret | {"tablestore_access_key_id"})

    @classmethod
    def key_fields(cls) -> frozenset[str]:
        """Those of them that travel in the headers of requests; MCP_AUTH_SECRET never leaves this process."""
        return cls.secret_fields() - {"mcp_auth_secret"}

    @classmethod
    def _many_lines(cls) -> frozenset[str]:
        """Texts, and lists, which a person may write over several lines."""
        texts = {name for name in cls.model_fields if name.endswith(("_prompt", "_description"))}
        lists = {name for name, field in cls.model_fields.items() if "tuple" in str(field.annotation)}
        return frozenset(texts | lists | {"mcp_auth_secret"})

    @model_validator(mode="after")
    def _whole(self) -> Self:
        wrong = [*self._half_given(), *self._disagreeing()]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _half_given(self) -> list[str]:
        groups: list[tuple[dict[str, Any], str]] = [
            ({"OPENAI_API_KEY": self.openai_api_key, "OPENAI_BASE_URL": self.openai_base_url}, "an LLM"),
        ]
        if self.embedder_api_key or self.embedder_base_url:
            embedder: dict[str, Any] = {
                "EMBEDDER_API_KEY": self.embedder_api_key or self.openai_api_key,
                "EMBEDDER_BASE_URL": self.embedder_base_url or self.openai_base_url,
            }
            groups.append((embedder, "an embedder"))
        has_keys = not self.host_credentials and (self.tablestore_access_key_id or self.tablestore_access_key_secret)
        if self.store != "embedded" and (has_keys or self.cloud):
            instance = {
                "TABLESTORE_INSTANCE_NAME": self.tablestore_instance_name,
                "TABLESTORE_ENDPOINT": self.tablestore_endpoint,
                "TABLESTORE_ACCESS_KEY_ID": self.tablestore_access_key_id,
                "TABLESTORE_ACCESS_KEY_SECRET": self.tablestore_access_key_secret,
            }
            groups.append((instance, "Tablestore"))
        return [
            f"{name} is not set, but the rest of what {what} needs is: set it, or unset {', '.join(_given(group))}."
            if _given(group)
            else f"{name} is not set: {what} needs it."
            for group, what in groups
            for name, value in group.items()
            if not value and (_given(group) or what == "Tablestore")
        ]

    def _disagreeing(self) -> list[str]:
        wrong = []
        if unknown := sorted(set(self.tool_black_list) - TOOL_NAMES):
            wrong.append(
                f"TOOL_BLACK_LIST names no tool with {unknown[0]!r}: there are {', '.join(sorted(TOOL_NAMES))}."
            )
        if self.cloud and not self.openai_api_key and self.memory_pipeline is None:
            wrong.append(
                "OPENAI_API_KEY is not set: memories in Tablestore are extracted by an LLM; set OPENAI_API_KEY and "
                "OPENAI_BASE_URL, or MEMORY_PIPELINE=verbatim to store texts word for word."
            )
        mint_key = self.mcp_mint_key.get_secret_value() if self.mcp_mint_key else None
        wrong += weak_secrets(self.auth_secrets, mint_key, given=bool(self.mcp_auth_secret))
        dimension = self.tablestore_vector_dimension if "tablestore_vector_dimension" in self.model_fields_set else None
        has_endpoint = self.embedder_endpoint is not None
        wrong += embedding_choice.mistakes(self.embedder, dimension, self.pipeline, has_endpoint=has_endpoint)
        if self.mcp_auth == "jwt":
            needed = ("MCP_AUTH_ISSUER", "MCP_AUTH_AUDIENCE", "MCP_PUBLIC_URL")
            wrong += [
                f"{name} is not set: MCP_AUTH=jwt needs it." for name in needed if not getattr(self, name.lower())
            ]
        if self.memory_pipeline in ("reconcile", "additive") and not self.openai_api_key:
            wrong.append(
                f"MEMORY_PIPELINE={self.memory_pipeline} needs an LLM: set OPENAI_API_KEY and OPENAI_BASE_URL."
            )
        return wrong

    @property
    def cloud(self) -> bool:
        """Whether memories live in a Tablestore instance (else: in the embedded store)."""
        if self.store == "auto":
            return bool(self.tablestore_instance_name or self.tablestore_endpoint)
        return self.store == "tablestore"

    @property
    def relays(self) -> bool:
        """Whether a POST may belong to another instance's stream: several instances share a Tablestore."""
        return self.sse_relay == "on" or (self.sse_relay == "auto" and self.cloud)

    @property
    def calls_others(self) -> bool:
        """Whether this process is a client of an LLM, an identity provider or a Tablestore instance."""
        has_model = any(getattr(self, name) for name in type(self).model_fields if name.endswith("_api_key"))
        return has_model or self.cloud or self.mcp_auth == "jwt"

    @property
    def auth_secrets(self) -> tuple[str, ...]:
        """Those of MCP_AUTH_SECRET, the signing one first."""
        given = self.mcp_auth_secret.get_secret_value() if self.mcp_auth_secret else ""
        return tuple(secret.strip() for secret in given.split(",") if secret.strip())

    @property
    def local_is_free(self) -> bool:
        """Whether this machine's own user needs no token. Behind a proxy or on Function Compute all look local."""
        return self.mcp_auth == "auto" and not self.mcp_public_url and not self.fc_function_name

    @property
    def llm_endpoint(self) -> ModelEndpoint | None:
        """None: there is no LLM."""
        if not (self.openai_api_key and self.openai_base_url):
            return None
        return ModelEndpoint(self.openai_api_key.get_secret_value(), self.openai_base_url)

    @property
    def embedder_endpoint(self) -> ModelEndpoint | None:
        """The LLM's, where EMBEDDER_API_KEY and EMBEDDER_BASE_URL say nothing else. None: there is no embedder."""
        key, url = self.embedder_api_key or self.openai_api_key, self.embedder_base_url or self.openai_base_url
        return ModelEndpoint(key.get_secret_value(), url) if key and url else None

    @property
    def embedding(self) -> embedding_choice.Kind:
        """What makes vectors."""
        return embedding_choice.resolved(self.embedder, has_endpoint=self.embedder_endpoint is not None)

    @property
    def vector_dimension(self) -> int:
        """Numbers of each vector."""
        return LOCAL_DIMENSION if self.embedding == "local" else self.tablestore_vector_dimension

    @property
    def tools_by_id(self) -> bool:
        """Whether EXTRA_TOOLS are offered: by itself where no LLM of ours corrects, so that the client's own can."""
        return self.pipeline == "verbatim" if self.extra_tools == "auto" else self.extra_tools

    @property
    def pipeline(self) -> Literal["reconcile", "additive", "verbatim"]:
        """How an add works: "verbatim" without an LLM."""
        return self.memory_pipeline or ("reconcile" if self.openai_api_key else "verbatim")


def _given(group: Mapping[str, Any]) -> list[str]:
    return [name for name, value in group.items() if value]
