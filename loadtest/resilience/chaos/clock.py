"""Move the wall clock of one service, as a wrong time server does.

A small library is loaded ahead of the C library and adds an offset, read from a file, to the wall clock alone. Debian's
libfaketime can do more, and for that reason not this: it takes part in every sleep and wait as well, and makes some of
them fail or never end, which no clock that jumps does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from loadtest.resilience.chaos.scenario import Skipped

_OFFSET_FILE: Final = "LW_CHAOS_CLOCK_OFFSET_FILE"
_SOURCE: Final = f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset(void) {{
    long seconds = 0;
    const char *path = getenv("{_OFFSET_FILE}");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (file) {{
        if (fscanf(file, "%ld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }}
    return seconds;
}}

int clock_gettime(clockid_t clock, struct timespec *found) {{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, found);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        found->tv_sec += offset();
    return status;
}}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {{
    (void)zone;
    struct timespec now;
    int status = clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return status;
}}

time_t time(time_t *found) {{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}}
"""


class Clock:
    """The wall clock of services that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Compile the library. Raises `Skipped` without a compiler."""
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise Skipped("needs a C compiler (apt-get install gcc libc6-dev)")
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SOURCE, "utf-8")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise Skipped(f"the clock's library cannot be compiled: {built.stderr[-300:]}")
        self._file = folder / "clock-offset"
        self.move(0)
        self.environment = {"LD_PRELOAD": str(library), _OFFSET_FILE: str(self._file)}

    def move(self, seconds: int) -> None:
        """Set the clock `seconds` away from the right time."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{seconds}\n", "ascii")
        partial.replace(self._file)
