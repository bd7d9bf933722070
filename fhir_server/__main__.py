"""`python -m fhir_server` opens the command line."""

from fhir_server.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
