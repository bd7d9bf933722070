"""The one MetaData that all tables of the server belong to, and the column that all of them have."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, SmallInteger, text

METADATA = MetaData()


def tenant(*, key: bool = False) -> Column[int]:
    """Return the column of whose row it is: 0 until an installation serves several houses."""
    return Column(
        "tenant",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        primary_key=key,
        autoincrement=False,
    )
