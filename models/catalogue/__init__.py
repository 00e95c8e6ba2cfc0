"""Make catalogues of items from Parquet files."""
