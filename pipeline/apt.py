"""apt in a private root: packages are fetched and read, never installed.

It uses the host's keyrings and proxy, and its sources unless told others, and
writes nothing outside the folder it is given, so no privilege is needed and
the host's dpkg does not know of it.
"""

import subprocess
from pathlib import Path

from pipeline.errors import InfraError

#: Of the package debian-archive-keyring, which every Debian has.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def private_root(root: Path, architecture: str, *, sources: str = "") -> Path:
    """Make a root for packages of ``architecture`` and return its apt.conf.

    ``sources``: deb822 text to use instead of the host's apt sources.
    """
    for name in ("lists/partial", "cache/archives/partial", "state", "parts"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    config = root / "apt.conf"
    text = (
        # The host's hooks act on the host's state; ours is none of their business.
        "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
        "#clear DPkg::Pre-Install-Pkgs;\n#clear APT::Architectures;\n"
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
        'APT::Install-Recommends "0";\nAcquire::Languages "none";\nAcquire::Retries "2";\n'
        # Keep apt from changing to its own user, who may not read this folder.
        f'APT::Sandbox::User "";\nDebug::NoLocking "1";\n'
        f'Dir::State "{root}/state";\nDir::State::status "{root}/status";\nDir::State::Lists "{root}/lists";\n'
        f'Dir::Cache "{root}/cache";\n'
    )
    if sources:
        (root / "parts" / "private.sources").write_text(sources)
        text += f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{root}/parts";\n'
    config.write_text(text)
    return config


def get(config: Path, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run apt-get with a private root's configuration; all it says is in ``stdout``. Raises InfraError without apt."""
    command = ["apt-get", "-c", str(config), "-q", *args]
    try:
        return subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except FileNotFoundError as err:
        raise InfraError(
            "apt-get expected on this host, found none: Debian's packages come through it",
            hint="run kpv on Debian 12 or later",
        ) from err


def said(process: subprocess.CompletedProcess[bytes]) -> str:
    """The command and the last of its words, for an error's detail."""
    lines = process.stdout.decode(errors="replace").splitlines()
    return "\n".join([f"$ {' '.join(process.args)}", *lines[-12:]])


def suite_sources(suite: str) -> str:
    """deb822 text for the main component of ``suite``, from the archive that this host's own release comes from.

    Raises InfraError where the host has no Debian archive among its sources.
    """
    done = get(
        Path("/dev/null"), "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Created-By: Packages"
    )
    for line in done.stdout.decode(errors="replace").splitlines():
        origin, codename, uri = line.split("|")
        # Security updates are an archive of their own, which has no other suites.
        if origin == "Debian" and not codename.endswith("-security"):
            signed = f"Signed-By: {KEYRING}\n" if KEYRING.is_file() else ""
            return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{signed}"
    raise InfraError(
        "found no Debian archive among this host's apt sources",
        hint="run kpv on Debian 12 or later, after: sudo apt-get update",
        detail=said(done),
    )
