/** Log files of the stack are appended to, and begun anew at a start that finds one too large. */
import { createWriteStream, rmSync, statSync, type WriteStream } from "node:fs";

const logBytesMax = 16 * 1024 * 1024;

export function openLog(path: string): WriteStream {
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes > logBytesMax) rmSync(path);
  // A log that cannot be written (its folder was removed under a running stack) must not end the stack.
  return createWriteStream(path, { flags: "a" }).on("error", () => {});
}
