"""The tables as the code knows them are the tables that the migrations make."""

from __future__ import annotations

import psycopg2
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql

from fhir_server.schema import indexes, jobs, names, reindexing, resources
from fhir_server.schema.metadata import METADATA


def test_migrations_make_what_the_schema_says(database_url: str) -> None:
    ours = set(METADATA.tables)
    assert jobs.job.name in ours
    assert {names.RESOURCE, *names.ROWS} <= ours
    assert resources.resource.name == names.RESOURCE
    assert reindexing.reindex.name in ours
    for table, columns in names.ROWS.items():
        written = {each.name for each in indexes.METADATA.tables[table].columns} - set(
            names.MADE.get(table, ())
        )
        assert written == {"pk", "tenant", *columns}
    for table, kinds in names.COLUMNS.items():
        for column, kind in kinds.items():
            made = indexes.METADATA.tables[table].columns[column].type.compile(postgresql.dialect())
            assert made.lower().replace("timestamp with time zone", "timestamptz").split()[0] == kind
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, parents: kind != "table" or name in ours},
        )
        found = compare_metadata(context, METADATA)
    # comments stand in the migration alone
    assert [each for each in found if "comment" not in str(each[0])] == []
    engine.dispose()
