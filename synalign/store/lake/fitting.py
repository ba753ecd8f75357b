"""Rows in the layout of the table that they are for: its columns in their order, its types, each key once."""

from __future__ import annotations

import pyarrow as pa

from synalign.errors import StoreError
from synalign.store.lake.schemas import TableSpec


def fitted(name: str, rows: pa.Table, schema: pa.Schema, spec: TableSpec) -> pa.Table:
    """Return `rows` in the layout of the table, or raise StoreError. The user's own columns may be missing."""
    missing = [field.name for field in spec.schema if field.name not in rows.column_names]
    if missing:
        raise StoreError(f"Rows for table {name!r} lack the columns {missing}. Nothing was written.")
    unknown = [column for column in rows.column_names if column not in schema.names]
    if unknown:
        raise StoreError(f"Table {name!r} has no columns {unknown}; add them first. Nothing was written.")
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    try:
        rows = rows.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise StoreError(f"Rows for table {name!r} do not fit its columns: {error}. Nothing was written.") from error
    # Lance compares new rows with those that are there, not among themselves.
    distinct = rows.select(list(spec.key)).group_by(list(spec.key)).aggregate([]).num_rows
    if distinct < rows.num_rows:
        raise StoreError(
            f"{rows.num_rows - distinct} rows for table {name!r} repeat a key ({', '.join(spec.key)}) of another. "
            "Nothing was written."
        )
    return rows


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type without Arrow's large and view variants, which Lance cannot filter by, at any depth."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_dictionary(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    return kind
