"""The search APIs: protobuf in and out, definitions, lagging replicas, the store's rows. Imports all of `search`."""
