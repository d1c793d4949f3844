"""The gateway in front of the model servers, and the client for their protocol."""
