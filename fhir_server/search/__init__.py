"""Search (R4/search.html): text to Query, Query to SQL, rows to pages. Nothing here runs a query."""
