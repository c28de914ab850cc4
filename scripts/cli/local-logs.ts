/** What the functions of the local stack logged: files below its state folder, which the stack appends to. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { FunctionLogs, LogLine, LogTail } from "../../lib/aws/function-logs.ts";

/** Read at a time; a look goes on until it has met the end. */
const chunkBytes = 1024 * 1024;

export class LocalFunctionLogs implements FunctionLogs {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "logs");
  }

  tail(functionName: string, sinceMs: number): LogTail {
    const path = join(this.#folder, `${functionName}.log`);
    let offset = 0;
    let atMs = 0;
    return {
      next: async () => {
        const { text, end } = readFrom(path, offset);
        offset = end;
        const found: LogLine[] = [];
        for (const line of text.split("\n")) {
          // Lambda's own lines have no time: they take that of the line before.
          atMs = timeOf(line) ?? atMs;
          if (line !== "" && atMs >= sinceMs) found.push({ atMs, text: line });
        }
        return found;
      },
    };
  }
}

/** From `offset` on; from the beginning where the file has been begun anew. */
function readFrom(path: string, offset: number): { text: string; end: number } {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return { text: "", end: 0 }; // The function has not run yet.
  }
  try {
    let at = fstatSync(file).size < offset ? 0 : offset;
    const parts: Buffer[] = [];
    for (;;) {
      const part = Buffer.alloc(chunkBytes);
      const bytes = readSync(file, part, 0, chunkBytes, at);
      if (bytes === 0) break;
      parts.push(part.subarray(0, bytes));
      at += bytes;
    }
    // A line that is not whole yet is read again.
    const all = Buffer.concat(parts);
    const whole = all.lastIndexOf(0x0a) + 1;
    return { text: all.toString("utf8", 0, whole), end: at - (all.length - whole) };
  } finally {
    closeSync(file);
  }
}

/** Of a Date. */
const dateMsMax = 8.64e15;

/** In ms since 1970, of a line of the logger or of a metric; null of any other. */
function timeOf(line: string): number | null {
  if (!line.startsWith("{")) return null;
  try {
    const { timestamp, _aws } = JSON.parse(line) as { timestamp?: string; _aws?: { Timestamp?: number } };
    const ms = _aws?.Timestamp ?? Date.parse(timestamp ?? "");
    return Math.abs(ms) <= dateMsMax ? ms : null;
  } catch {
    return null;
  }
}
