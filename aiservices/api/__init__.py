"""What other programs call: models, generations and credentials over HTTP."""
