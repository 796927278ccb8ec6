"""More images than one machine has time for: the same work in many processes, on Dask."""
