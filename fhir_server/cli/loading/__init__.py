"""`xinglin load`: files of resources into the server, through the same interactions as HTTP."""
