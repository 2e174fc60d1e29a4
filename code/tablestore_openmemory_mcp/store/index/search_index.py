"""The search index over all memories, made when the first scope outgrows exact search.

It proposes, nothing more: it lags (seconds), its replicas disagree, and it answers nothing while it is being built.
Whoever asks excludes what was written lately and looks the rest up in the rows. So nothing here ever fails a search: an
index that is away, throttled, refused or slow is one that proposes nothing for a while.

An index takes vectors of one dimension, so that is part of its name: after a change of TABLESTORE_VECTOR_DIMENSION
another index is made, and the old one is the operator's to drop (another deployment may still use it).
"""

import logging
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import tablestore as sdk

from ...errors import StoreError
from ...scope import Scope
from ..client.failures import AlreadyExists, TableMissing
from ..client.sdk_client import Gateway
from ..commit.tables import Tables
from ..model import Vector

TOP_K = 1000  # the service's most
_TERMS = 1024  # values in one TermsQuery
MOST_EXCLUDED = 20 * _TERMS  # ids that a question may leave out
SECONDS = 3.0  # for one question; the rows answer as well
BUILDING_SECONDS = 5.0  # between looks at an index that is being built
ILL_SECONDS = 10.0  # that one is left alone after it failed
_log = logging.getLogger(__name__)


class SearchIndex:
    """Nearest neighbours among the rows of one scope. Any thread may use it."""

    def __init__(self, gateway: Gateway, tables: Tables, dimension: int) -> None:
        self._gateway = gateway
        self._tables = tables
        self._dimension = dimension
        self._name: str | None = None  # once it is known to be ready
        self._asking = threading.Lock()  # never waited for
        self._ask_from = float("-inf")
        self._ill = False

    def nearest(
        self,
        scope: Scope,
        epoch: int,
        model: str,
        query: Vector,
        k: int,
        *,
        without: Collection[str] = (),
        deadline: float | None = None,
    ) -> Sequence[str] | None:
        """Up to `k` ids, best first, as of some seconds ago; None while the index cannot answer.

        `without`: at most MOST_EXCLUDED ids. Raises nothing, and takes SECONDS at most.
        """
        until = time.monotonic() + SECONDS
        until = until if deadline is None else min(until, deadline)
        name = self._usable(until)
        if name is None:
            return None
        within = sdk.BoolQuery(
            must_queries=[
                sdk.TermQuery("user_id", scope.user_id),
                sdk.TermQuery("client_name", scope.client_name),
                sdk.TermQuery("epoch", epoch),
                sdk.TermQuery("model", model),
            ],
            must_not_queries=[sdk.TermsQuery("memory_id", ids) for ids in _chunks(without)],
        )
        k = min(k, TOP_K)
        knn = sdk.KnnVectorQuery("vector", top_k=k, float32_query_vector=query.tolist(), filter=within)
        # Without a sort by score the service answers in the order of the primary key.
        asked = sdk.SearchQuery(knn, sort=sdk.Sort([sdk.ScoreSort()]), limit=k)
        try:
            response = self._gateway.search(self._tables.memories, name, asked, deadline=until)
        except TableMissing:  # dropped by an operator
            self._name = None
            return None
        except StoreError as e:
            self._fails(e)
            return None
        self._ill = False
        if not response.is_all_succeed:
            return None
        return [key[2][1] for key, _ in response.rows]

    def _usable(self, deadline: float) -> str | None:
        """The index to ask; None while there is none, while it is ill, and while another thread finds out."""
        if time.monotonic() < self._ask_from:
            return None
        if self._name is None and self._asking.acquire(blocking=False):
            try:
                self._name = self._found(deadline)
            except StoreError as e:
                self._fails(e)
            finally:
                self._asking.release()
        return self._name

    def _fails(self, error: StoreError) -> None:
        self._ask_from = time.monotonic() + ILL_SECONDS
        if not self._ill:
            _log.warning("The search index does not answer, so the rows do, more slowly: %s", error)
        self._ill = True

    def _found(self, deadline: float) -> str | None:
        """The name of the index for this dimension, if it can be asked already; made, if there is none."""
        own = f"{self._tables.index}_{self._dimension}"
        for name in (own, self._tables.index):  # the other is version 2.0's, which had one for all
            try:
                meta, ready = self._gateway.describe_index(self._tables.memories, name, deadline=deadline)
            except TableMissing:
                continue
            if name == own or _dimension(meta) == self._dimension:
                if not ready:
                    self._ask_from = time.monotonic() + BUILDING_SECONDS
                return name if ready else None
            _log.warning("The search index %s has another dimension: it is no longer used, but still paid for.", name)
        self._create(own, deadline)
        return None

    def _create(self, name: str, deadline: float) -> None:
        options = sdk.VectorOptions(
            data_type=sdk.VectorDataType.VD_FLOAT_32,
            metric_type=sdk.VectorMetricType.VM_COSINE,
            dimension=self._dimension,
        )
        keywords = ("user_id", "client_name", "memory_id", "model")
        fields = [sdk.FieldSchema(keyword, sdk.FieldType.KEYWORD, index=True) for keyword in keywords]
        fields.append(sdk.FieldSchema("epoch", sdk.FieldType.LONG, index=True))
        fields.append(sdk.FieldSchema("vector", sdk.FieldType.VECTOR, vector_options=options))
        try:
            self._gateway.create_index(self._tables.memories, name, sdk.SearchIndexMeta(fields), deadline=deadline)
        except AlreadyExists:
            return  # another instance is at it too


def _dimension(meta: Any) -> int | None:
    """Of the vectors that an index takes."""
    options = (field.vector_options for field in meta.fields if field.field_type == sdk.FieldType.VECTOR)
    return next((int(option.dimension) for option in options if option), None)


def _chunks(ids: Collection[str]) -> list[list[str]]:
    some = sorted(ids)
    return [some[i : i + _TERMS] for i in range(0, len(some), _TERMS)]
