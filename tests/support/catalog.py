"""What a schema demands of the programs that use it, and what of it two versions of a schema demand differently."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_TABLES = """
SELECT c.relname AS table, c.relrowsecurity AS secured FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
"""
_OF_TABLES = "JOIN pg_class AS c ON c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition"
_COLUMNS = f"""
SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed,
    a.atthasdef OR a.attidentity <> '' AS filled
FROM pg_attribute AS a {_OF_TABLES} AND c.relkind IN ('r', 'p', 'v') AND c.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped
"""  # noqa: S608
#: What refuses rows, with the columns it looks at; rules that PostgreSQL keeps for each column are among the columns.
_RULES = f"""
SELECT c.relname AS table, 'constraint ' || r.conname AS name, pg_get_constraintdef(r.oid) AS rule,
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY(r.conkey)) AS columns
FROM pg_constraint AS r {_OF_TABLES} AND c.oid = r.conrelid WHERE r.contype <> 'n'
UNION ALL
SELECT c.relname, 'unique index ' || i.relname, pg_get_indexdef(i.oid),
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY(x.indkey))
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid {_OF_TABLES} AND c.oid = x.indrelid
WHERE x.indisunique AND NOT EXISTS (SELECT FROM pg_constraint AS r WHERE r.conindid = i.oid)
UNION ALL
SELECT c.relname, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid), '{{}}'
FROM pg_trigger AS t {_OF_TABLES} AND c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT p.tablename, 'policy ' || p.policyname, concat_ws(' ', p.cmd, p.qual, p.with_check), '{{}}'
FROM pg_policies AS p WHERE p.schemaname = current_schema()
"""  # noqa: S608
_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, md5(p.prosrc || p.prosecdef) AS body FROM pg_proc AS p
WHERE p.pronamespace = current_schema()::regnamespace
"""


@dataclass(frozen=True)
class Catalog:
    """Tables, columns, what refuses rows, and functions of one schema."""

    tables: dict[str, bool] = field(default_factory=dict)
    columns: dict[tuple[str, str], Any] = field(default_factory=dict)
    rules: dict[tuple[str, str], Any] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)


def read(connection: Any) -> Catalog:
    """Read the schema that comes first in the search path of a connection."""
    rows = {name: list(connection.exec_driver_sql(text)) for name, text in (
        ("tables", _TABLES), ("columns", _COLUMNS), ("rules", _RULES), ("functions", _FUNCTIONS))}  # fmt: skip
    return Catalog(
        {row.table: row.secured for row in rows["tables"]},
        {(row.table, row.name): row for row in rows["columns"]},
        {(row.table, row.name): row for row in rows["rules"]},
        {row.name: row.body for row in rows["functions"]},
    )


def taken_away(before: Catalog, after: Catalog) -> Iterator[str]:
    """Yield what a program written for ``before`` may miss, or be refused, in ``after``.

    A rule that changed counts, whether it became wider or narrower: what a wider one lets in is new to the program.
    """
    yield from (f"table {name} is gone" for name in sorted(before.tables.keys() - after.tables.keys()))
    kept = before.tables.keys() & after.tables.keys()
    for (table, name), old in before.columns.items():
        new = after.columns.get((table, name))
        if table not in kept:
            continue
        if new is None:
            yield f"column {table}.{name} is gone"
        elif new.type != old.type:
            yield f"column {table}.{name} is {new.type}, was {old.type}"
        elif new.needed and not old.needed:
            yield f"column {table}.{name} must not be null any more"
        elif new.needed and old.filled and not new.filled:
            yield f"column {table}.{name} is not filled by itself any more"
    added = {key for key in after.columns.keys() - before.columns.keys() if key[0] in kept}
    for table, name in sorted(added):
        if (column := after.columns[table, name]).needed and not column.filled:
            yield f"new column {table}.{name} must be given"
    for (table, name), rule in after.rules.items():
        old = before.rules.get((table, name))
        if table not in kept or (old is not None and old.rule == rule.rule):
            continue
        if not rule.columns or not {(table, column) for column in rule.columns} <= added:
            yield f"{name} on {table} is {'new' if old is None else 'another'}: {rule.rule}"
    yield from (f"rows of {name} are hidden" for name in sorted(kept) if after.tables[name] > before.tables[name])
    for name, body in before.functions.items():
        if name not in after.functions:
            yield f"function {name} is gone"
        elif after.functions[name] != body:
            yield f"function {name} is another"
