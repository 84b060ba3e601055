"""JDBC, as DBeaver, Tableau or Metabase use it: Debian's driver, and a probe of our own in Java."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.real.place import Failed, Place, Skipped, apt, must, run
from tests.real.truth import compare, count, truth

DRIVER = "/usr/share/java/postgresql.jar"


def probe(place: Place) -> str:
    """Metadata and all rows of every view."""
    if shutil.which("java") is None:
        apt("openjdk-17-jdk-headless")
    apt("libpostgresql-jdbc-java")
    parts = place.parts()
    url = f"jdbc:postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}"
    source = str(Path(__file__).with_name("Probe.java"))
    try:
        run(["java", "--list-modules"])
        said = run(
            ["java", "-cp", DRIVER, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", source, url, parts["user"]],
            environ={"PROBE_PASSWORD": parts["password"]},
        ).decode()
    except Failed as exc:
        if "compiler" in str(exc):
            raise Skipped(f"this Java has no compiler: {exc}") from exc
        raise
    words = [line.split("\t") for line in said.splitlines()]
    comments = {word[1]: word[3] for word in words if word[0] == "view"}
    must(comments == {view.name: view.comment for view in truth(place).values()}, f"views: {comments}")
    rows = {word[1]: int(word[3]) for word in words if word[0] == "rows"}
    for view, number in rows.items():
        must(number == count(place, view), f"{view}: {number} rows of {count(place, view)}")
    seen = compare(place, ((word[1], word[2], word[3], word[4]) for word in words if word[0] == "column"))
    return f"{seen}, {sum(rows.values())} rows"
