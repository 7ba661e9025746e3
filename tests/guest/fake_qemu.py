#!/usr/bin/env python3
"""Stands in for qemu-system-aarch64: replays a recorded console and speaks as much QMP as the VM needs.

The scenario comes as JSON in a file beside this program's link, ``scenario.json``:
``console``: text to write; ``then``: what happens when it is written.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path


def option(name: str, key: str, holds: str = "") -> str:
    for at, word in enumerate(sys.argv):
        if word == name and holds in sys.argv[at + 1]:
            fields = dict(f.split("=", 1) for f in sys.argv[at + 1].split(",") if "=" in f)
            return fields[key]
    sys.exit(f"fake qemu: no {name} with {key}")


class Qmp:
    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.say({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""},
                          "capabilities": []}})  # fmt: skip
        self.ready = threading.Event()
        threading.Thread(target=self.answer, daemon=True).start()

    def say(self, message: object) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: object) -> None:
        self.say({"event": name, "data": data, "timestamp": {"seconds": int(time.time()), "microseconds": 0}})

    def answer(self) -> None:
        text = ""
        while chunk := self.socket.recv(65536).decode():
            text += chunk  # requests come without a line end; they are JSON one after the other
            while text.strip():
                try:
                    request, end = json.JSONDecoder().raw_decode(text.lstrip())
                except ValueError:
                    break
                text = text.lstrip()[end:]
                self.reply(request)

    def reply(self, request: dict[str, object]) -> None:
        identity = {"id": request["id"]} if "id" in request else {}
        if request["execute"] == "refuse":
            self.say({"error": {"class": "GenericError", "desc": "no"}, **identity})
        else:
            self.say({"return": {}, **identity})
        if request["execute"] == "qmp_capabilities":
            self.ready.set()


def main() -> None:
    here = Path(sys.argv[0]).parent
    scenario = json.loads((here / "scenario.json").read_text())
    tries = here / "tries"
    tries.write_text(f"{int(tries.read_text() or 0) + 1}" if tries.exists() else "1")
    if int(tries.read_text()) <= scenario.get("port_taken", 0):
        sys.exit("qemu: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'")
    if scenario["then"] == "refuse":
        sys.exit("qemu: -cpu: unknown")
    qmp = Qmp(option("-chardev", "path", "id=qmp"))
    qmp.ready.wait()  # QEMU sends no event before
    while not (here / "go").exists():  # the play is for a VM that has started
        time.sleep(0.005)
    with Path(option("-chardev", "path", "id=console")).open("w", buffering=1) as console:
        for line in scenario["console"].splitlines(keepends=True):
            console.write(line)
        match scenario["then"]:
            case "hang":
                time.sleep(600)
            case "panic":
                qmp.event("GUEST_PANICKED", action="pause")
                time.sleep(600)
            case "watchdog":
                qmp.event("WATCHDOG", action="pause")
                time.sleep(600)
            case "guest-shutdown" | "guest-reset" as reason:
                qmp.event("SHUTDOWN", guest=True, reason=reason)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fails":
                sys.exit("qemu: fatal: out of cheese")
            case "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "poweroff":  # when the test says so
                while not (here / "poweroff").exists():
                    time.sleep(0.005)
                console.write(scenario.get("late", ""))
                if "Kernel panic" in scenario.get("late", ""):
                    qmp.event("GUEST_PANICKED", action="pause")
                    time.sleep(600)
                qmp.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            case other:
                sys.exit(f"fake qemu: unknown scenario {other!r}")


main()
