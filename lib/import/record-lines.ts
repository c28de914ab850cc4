/**
 * The lines of a text, one at a time in bounded memory, each with its number. Lines are cut by bytes, so a line that is too
 * long or is no UTF-8 is one faulty line, not the end of the import.
 */
import { decodeUtf8, markBytes } from "./input-text.ts";

/** Far above a record of the most dimensions with the largest document and metadata. */
export const lineBytesMax = 8 * 1024 * 1024;
const lineFeed = 0x0a;

export interface RecordLine {
  /** From 1. */
  readonly number: number;
  /** Null when the line cannot be read; then `fault` says why. */
  readonly text: string | null;
  readonly fault: string | null;
}

/** The first `skipped` lines come without their text. */
export async function* recordLines(chunks: AsyncIterable<Buffer>, skipped = 0): AsyncGenerator<RecordLine> {
  let number = 0;
  let parts: Buffer[] = [];
  let length = 0;
  const take = (): RecordLine => {
    number += 1;
    const line = length > lineBytesMax ? null : Buffer.concat(parts);
    parts = [];
    length = 0;
    if (number <= skipped) return { number, text: "", fault: null };
    if (line === null) return { number, text: null, fault: `the line has more than ${lineBytesMax} bytes` };
    const text = decodeUtf8(number === 1 ? line.subarray(markBytes(line)) : line);
    return { number, text, fault: text === null ? "the line is not UTF-8" : null };
  };
  const add = (part: Buffer): void => {
    length += part.length;
    // The rest of a line that is too long is skipped.
    if (length <= lineBytesMax && number >= skipped) parts.push(part);
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      add(chunk.subarray(start, end));
      yield take();
      start = end + 1;
    }
    add(chunk.subarray(start));
  }
  if (length > 0) yield take();
}
