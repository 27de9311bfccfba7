"""The configuration: config.toml, output profiles and roles."""
