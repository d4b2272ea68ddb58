"Compares this library with tsai 1.0.1 on one machine: `make bench`"
