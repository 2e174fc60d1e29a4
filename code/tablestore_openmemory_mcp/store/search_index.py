"""The search index over all memories, made when the first scope outgrows exact search.

It proposes, nothing more: it lags (seconds), its replicas disagree, and it answers nothing while it is being built.
Whoever asks excludes what was written lately and looks the rest up in the rows.
"""

import threading
from collections.abc import Collection, Sequence

import tablestore as sdk

from ..scope import Scope
from .failures import AlreadyExists, TableMissing
from .gateway import Gateway
from .model import Vector
from .tables import Tables

TOP_K = 1000  # the service's most
_TERMS = 1024  # values in one TermsQuery
MOST_EXCLUDED = 20 * _TERMS  # ids that a question may leave out


class SearchIndex:
    """Nearest neighbours among the rows of one scope. Any thread may use it."""

    def __init__(self, gateway: Gateway, tables: Tables, dimension: int) -> None:
        self._gateway = gateway
        self._tables = tables
        self._dimension = dimension
        self._lock = threading.Lock()
        self._ready = False

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

        `without`: at most MOST_EXCLUDED ids.
        """
        if not self._usable(deadline):
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
            response = self._gateway.search(self._tables.memories, self._tables.index, asked, deadline=deadline)
        except TableMissing:  # dropped by an operator
            self._ready = False
            return None
        if not response.is_all_succeed:
            return None
        return [key[2][1] for key, _ in response.rows]

    def _usable(self, deadline: float | None) -> bool:
        if self._ready:
            return True
        with self._lock:
            try:
                self._ready = self._gateway.index_ready(self._tables.memories, self._tables.index, deadline=deadline)
            except TableMissing:
                self._create(deadline)
            return self._ready

    def _create(self, deadline: float | None) -> None:
        options = sdk.VectorOptions(
            data_type=sdk.VectorDataType.VD_FLOAT_32,
            metric_type=sdk.VectorMetricType.VM_COSINE,
            dimension=self._dimension,
        )
        keywords = ("user_id", "client_name", "memory_id", "model")
        fields = [sdk.FieldSchema(name, sdk.FieldType.KEYWORD, index=True) for name in keywords]
        fields.append(sdk.FieldSchema("epoch", sdk.FieldType.LONG, index=True))
        fields.append(sdk.FieldSchema("vector", sdk.FieldType.VECTOR, vector_options=options))
        try:
            self._gateway.create_index(
                self._tables.memories, self._tables.index, sdk.SearchIndexMeta(fields), deadline=deadline
            )
        except AlreadyExists:
            return  # another instance is at it too


def _chunks(ids: Collection[str]) -> list[list[str]]:
    some = sorted(ids)
    return [some[i : i + _TERMS] for i in range(0, len(some), _TERMS)]
