"""The duties: one module, one process. Each opens with what it does and who may talk to it."""
