"""How nki_ir is written as NKI source: expressions, calls as the rows describe them, views."""
