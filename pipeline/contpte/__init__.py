"""The cont-PTE hardware model: what arm64's translation tables say, and what they must not.

Knows arm64 (VMSAv8-64 stage 1) and how Linux uses it; knows neither QEMU nor a
VM. Memory comes in through ``walk.Memory``, records of a guest through
``record``.
"""
