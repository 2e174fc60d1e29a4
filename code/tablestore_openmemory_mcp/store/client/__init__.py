"""The door to the Tablestore SDK: requests, deadlines, retries, failures, credentials, and the embedded store."""
