"""Read and write list records, and turn them into arrays to learn from."""
