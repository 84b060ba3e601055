"""How fast does the archive answer? On an archive of a year that SQL generates, as large as wanted."""
