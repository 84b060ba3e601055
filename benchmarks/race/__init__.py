"""The archiver beside what else would fill a table with line logs: same rows, same Postgres, in turn."""
