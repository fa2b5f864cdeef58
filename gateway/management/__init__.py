"""Management Layer: index, profiles, rendering, sealing."""
