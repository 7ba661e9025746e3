"""What the TLB model (``qemu/contpte-tlb``) says of a guest's page tables; docs/hardware-model.md has its rules."""
