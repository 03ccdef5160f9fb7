"""The sample data of a first start: real notices, the offices they name, and invented schools and people."""
