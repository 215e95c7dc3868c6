"""The catalog as one file: models, rules with their prices, levels with their permissions (YAML or JSON)."""

from billing.catalog.file.apply import Result, apply, draft
from billing.catalog.file.document import MAX_FILE_BYTES, Document
from billing.catalog.file.export import dump, export
from billing.catalog.file.read import from_json, parse

__all__ = ["MAX_FILE_BYTES", "Document", "Result", "apply", "draft", "dump", "export", "from_json", "parse"]
