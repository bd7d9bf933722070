"""The one MetaData that all tables of the server belong to."""

from __future__ import annotations

from sqlalchemy import MetaData

METADATA = MetaData()
