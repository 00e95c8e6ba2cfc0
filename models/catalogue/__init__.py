"""Build and update catalogues of items from Parquet files."""
