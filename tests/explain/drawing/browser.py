"""A headless Chromium: opens a page and tells what it wrote on the console and which hosts it asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.image import imread

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 60
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves this machine; that it was asked for is logged
    "--enable-logging=stderr",
    "--window-size=1000,800",
)


@dataclass(frozen=True)
class Visit:
    """console: its messages of any kind;  requests: addresses that the page asked for;  picture: rows × columns × RGB
    dom: the page as it stands after its scripts have run"""

    console: list[str]
    requests: set[str]
    picture: np.ndarray
    dom: str


def visit(page: Path, folder: Path, *, dark: bool = False) -> Visit:
    """Opens a file in a fresh browser, whose traces stay in `folder`."""
    profile, log, picture = (folder / name for name in ("profile", "net.json", "page.png"))
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", f"--log-net-log={log}"]
    command += [f"--screenshot={picture}", "--dump-dom", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    running = subprocess.Popen(
        [*command, page.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        dom, messages = running.communicate(timeout=SECONDS)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    assert running.returncode == 0, messages
    console = re.findall(r"CONSOLE[^ ]* (.*)", messages)
    return Visit(console, _requests(log), imread(picture)[..., :3], dom)


def _requests(log: Path) -> set[str]:
    """What was asked for on behalf of the page; what the browser asks for of its own accord is not the page's doing."""
    found = set()
    for event in json.loads(log.read_text(encoding="utf-8"))["events"]:
        about = event.get("params", {})
        keys = f"{about.get('network_isolation_key')} {about.get('network_anonymization_key')}"
        address = about.get("url") or about.get("host") or ""
        if "file://" in keys and address and not address.startswith(("file:", "data:")):
            found.add(address)
    return found
