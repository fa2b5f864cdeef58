"""The light device client: receives, verifies, keeps, shows and exports."""
