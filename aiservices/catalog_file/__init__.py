"""The catalog as one file: models, rules with their prices, levels with their permissions (YAML or JSON)."""

from aiservices.catalog_file.apply import Result, apply, draft
from aiservices.catalog_file.document import MAX_FILE_BYTES, Document
from aiservices.catalog_file.export import dump, export
from aiservices.catalog_file.read import from_json, parse

__all__ = ["MAX_FILE_BYTES", "Document", "Result", "apply", "draft", "dump", "export", "from_json", "parse"]
