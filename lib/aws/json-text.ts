/** JSON from outside: decoded strictly, and its mistakes named by position. */
import { invalid } from "../core/errors.ts";

/** Deep enough for any filter, shallow enough for every recursive reader behind the door. */
export const jsonLevelsMax = 32;

/** The value of a JSON text; `invalid` names the position of the first mistake. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const position = errorPosition(text);
    const before = text.slice(0, position).split("\n");
    const where = `position ${position} (line ${before.length}, column ${before.at(-1)!.length + 1})`;
    const field = "body";
    const reason = `not JSON at ${where}: ${withoutExcerpt((error as Error).message)}`;
    throw invalid(`${field}: ${reason}`, [{ field, reason }]);
  }
}

/** Throws `invalid` when lists and objects are nested deeper than `jsonLevelsMax`. The recursion is bounded by it too. */
export function checkDepth(value: unknown, level = 0): void {
  if (typeof value !== "object" || value === null) return;
  if (level >= jsonLevelsMax) {
    const reason = `nested deeper than ${jsonLevelsMax} levels`;
    throw invalid(`body: ${reason}`, [{ field: "body", reason }]);
  }
  for (const part of Array.isArray(value) ? value : Object.values(value)) checkDepth(part, level + 1);
}

/** V8's message quotes the text around the mistake, which may be somebody's document. */
const withoutExcerpt = (message: string): string =>
  message.replace(/(?:, (?:\.\.\.)?".*| in JSON at position .*)$/s, "");

/**
 * V8 does not always say where. The start of a text is JSON that ends too early exactly as long as the mistake is not
 * in it yet, so a bisection finds the longest such start.
 */
function errorPosition(text: string): number {
  let start = 0;
  let limit = text.length;
  while (start < limit) {
    const middle = (start + limit + 1) >>> 1;
    if (endsTooEarly(text.slice(0, middle))) start = middle;
    else limit = middle - 1;
  }
  return start;
}

function endsTooEarly(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    const position = / at position (\d+)/.exec(message)?.[1];
    return position === undefined
      ? message === "Unexpected end of JSON input"
      : Number(position) >= text.length;
  }
}
