"""dlt with its `rest_api` source, as it comes and tuned; see dlt_pipeline.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.race.contender import Skipped
from benchmarks.race.place import Integrator

PACKAGES = ("dlt[postgres]", "orjson")
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": ""}
# A file for each of two processes to normalise, and for each worker to copy.
TUNED = {
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "4",
    "EXTRACT__MAX_PARALLEL_ITEMS": "40",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "25000",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "25000",
}


class Dlt:
    table = "dlt_data.lines"

    def __init__(self, mode: str) -> None:
        self.name = f"dlt {mode}"
        self.asks_again = mode == "default"
        self._mode = mode

    def install(self, build: Path) -> str:
        self._python = build / "venv" / "bin" / "python"
        try:
            if not self._python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(build / "venv")], check=True, capture_output=True)
            pip = [str(self._python), "-m", "pip"]
            subprocess.run([*pip, "install", "-q", "--upgrade", *PACKAGES], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise Skipped(f"dlt cannot be installed ({type(exc).__name__})") from None
        listed = subprocess.run([*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
        return ", ".join(
            line.replace("==", " ") for line in listed.split() if line.startswith(("dlt==", "psycopg2", "orjson"))
        )

    def prepare(self, dsn: str, source: Integrator, folder: Path, connections: int) -> None:
        script = Path(__file__).with_name("dlt_pipeline.py")
        self._command = [str(self._python), str(script), dsn, source.said, self._mode, str(folder)]
        self._environ = QUIET | {"DLT_DATA_DIR": str(folder)}
        if self._mode == "tuned":
            self._environ |= TUNED | {"EXTRACT__WORKERS": str(2 * connections)}

    def command(self) -> list[str]:
        return self._command

    def environ(self) -> dict[str, str]:
        return self._environ
