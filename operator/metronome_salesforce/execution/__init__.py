"""Running a cycle beside the event loop: child process and Lease."""
