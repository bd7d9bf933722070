"""DIMSE: messages (PS3.7) over our upper layer, and the services (PS3.4): one service, one file."""
