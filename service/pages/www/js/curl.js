/** Write a request as a command for a shell. */

/** @import {RerankRequest} from "./types.js" */

/**
 * The key is not in it: a shell reads it from `LISTWRIGHT_KEY`.
 * @param {RerankRequest} request
 * @param {string} origin
 * @param {boolean} withKey
 * @returns {string}
 */
export function curlCommand(request, origin, withKey) {
  const key = withKey ? ' -H "authorization: Bearer $LISTWRIGHT_KEY"' : "";
  return (
    `curl -sS ${quoted(`${origin}/v1/rerank`)} -H 'content-type: application/json'${key} ` +
    `--data-binary @- <<'REQUEST'\n` +
    `${JSON.stringify(request)}\nREQUEST\n`
  );
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
