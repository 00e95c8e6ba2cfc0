"""Convert each data source to list records, one file per source."""
