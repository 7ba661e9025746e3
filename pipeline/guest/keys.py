"""SSH keys of one run: made anew, never stored beyond it.

The guest listens on the loopback of the host only; the keys make sure that
kpv talks to its own guest and that nobody else on this machine does.
"""

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.guest import cpio

TYPE = b"ssh-ed25519"
HOST_KEY = "etc/dropbear/dropbear_ed25519_host_key"
AUTHORIZED = "root/.ssh/authorized_keys"


@dataclass(frozen=True)
class RunKeys:
    """``private``: the client's key in OpenSSH PEM. ``host_public``: the guest's public key blob
    (RFC 4253 section 6.6), which the client must see. ``archive``: the guest's side, as cpio."""

    private: str
    host_public: bytes
    archive: bytes


def make() -> RunKeys:
    """A new pair for the client and one for the guest, ed25519 both: the cheapest under emulation."""
    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    line = TYPE + b" " + base64.b64encode(public_blob(client)) + b" kpv\n"
    return RunKeys(
        private=client.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode(),
        host_public=public_blob(host),
        archive=cpio.archive(
            [
                # dropbear refuses keys in folders that others may write.
                cpio.folder("root", mode=0o700),
                cpio.folder("root/.ssh", mode=0o700),
                cpio.file(AUTHORIZED, line, mode=0o600),
                cpio.folder("etc/dropbear", mode=0o700),
                cpio.file(HOST_KEY, dropbear_private(host), mode=0o600),
            ]
        ),
    )


def public_blob(key: Ed25519PrivateKey) -> bytes:
    """The public key as SSH sends it: string "ssh-ed25519", string key (RFC 8709 section 4)."""
    return _string(TYPE) + _string(_public(key))


def dropbear_private(key: Ed25519PrivateKey) -> bytes:
    """dropbear's key file: string "ssh-ed25519", string of the 32 private and 32 public bytes
    (``buf_put_ed25519_priv_key`` in dropbear's ed25519.c)."""
    private = key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    return _string(TYPE) + _string(private + _public(key))


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
