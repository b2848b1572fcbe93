"""Parts and joints of moving things, from multi-view video."""
