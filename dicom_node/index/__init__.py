"""The index of studies, series and instances in Postgres."""
