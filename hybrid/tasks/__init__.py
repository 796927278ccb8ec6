"""What a command or a server calls: one function a task."""
