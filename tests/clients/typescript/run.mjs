// Send the request on stdin with the compiled client, and print the ids that it returns.
import { text } from "node:stream/consumers";
import { rerank } from "./out/use.js";

const [url, key] = process.argv.slice(2);
const request = JSON.parse(await text(process.stdin));
console.log(JSON.stringify(await rerank(url, request, key)));
