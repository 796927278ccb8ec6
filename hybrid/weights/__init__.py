"""Where weights come from: files, packages, downloads and seeds."""
