"""The reference of every key, docs/configuration.md, made from `conf/`, the schema and the help of the commands."""
