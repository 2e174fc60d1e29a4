"""The documented limits of search indexes
(https://www.alibabacloud.com/help/en/tablestore/table-store-service/product-overview/limits-on-search-index)."""

FIELDS = 1000
VECTOR_FIELDS = 5
DIMENSION = 4096
ROWS = 100  # of a page
ROWS_FROM_INDEX = 1000  # of a page whose columns all come from the index
REACH = 100_000  # offset + limit
TOP_K = 1000
TERMS = 1024
WILDCARD = 32  # characters of a pattern
SUB_QUERIES = 1024
DEPTH = 64  # of queries in queries; a guess, the documents name none
COLUMNS = 128  # columns_to_get
