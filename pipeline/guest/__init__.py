"""The guest: its root file system, the machine it runs on, and its life under QEMU."""
