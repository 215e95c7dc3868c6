"""What watches the ledger: alerts, daily stats, rejections."""
