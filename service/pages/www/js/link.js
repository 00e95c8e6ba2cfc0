/**
 * Write the state into a link's fragment, and read it. A browser sends no fragment to a server.
 *
 * `#1z` begins JSON that is compressed (raw deflate), `#1p` JSON that is not; both are base64url.
 */

import { freshState, readState } from "./state.js";

/** @import {State} from "./types.js" */

/**
 * @param {State} state
 * @returns {Promise<string>} The fragment, with its `#`.
 */
export async function writeLink(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  if (typeof CompressionStream === "undefined") return `#1p${toText(bytes)}`;
  return `#1z${toText(await through(bytes, new CompressionStream("deflate-raw")))}`;
}

/**
 * Read a fragment; an empty one is the state at the start. Throws if it is no link of this page.
 * @param {string} fragment
 * @returns {Promise<State>}
 */
export async function readLink(fragment) {
  if (fragment.length < 2) return freshState();
  const form = fragment.slice(0, 3);
  if (form !== "#1z" && form !== "#1p") throw new Error("the link is not one of this page");
  try {
    const bytes = toBytes(fragment.slice(3));
    const plain = form === "#1p" ? bytes : await through(bytes, new DecompressionStream("deflate-raw"));
    return readState(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plain)));
  } catch {
    throw new Error("the link is cut off or damaged");
  }
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {CompressionStream | DecompressionStream} stream
 */
async function through(bytes, stream) {
  const response = new Response(new Blob([bytes]).stream().pipeThrough(stream));
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {Uint8Array} bytes */
function toText(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text */
function toBytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}
