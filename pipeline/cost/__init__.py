"""What operations of the kernel cost, in instructions and events that are exact under emulation."""
