"""The tables, as SQLAlchemy Core; no queries."""
