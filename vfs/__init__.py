"""agentfs: a directory whose every byte lives in object storage."""
