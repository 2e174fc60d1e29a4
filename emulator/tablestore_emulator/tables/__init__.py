"""Tables and secondary indexes: their schemas and the catalog."""
