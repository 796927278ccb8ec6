"""Pages as people see them: `make test-browser`."""
