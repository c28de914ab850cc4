/**
 * The lines of a JSONL file, one at a time in bounded memory, each with its number. Lines are cut by bytes, so a line
 * that is too long or is no UTF-8 is one faulty line, not the end of the import.
 */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { invalid } from "../core/model/errors.ts";
import { decodeUtf8, foreignFormat, markBytes, signatureBytes, unreadable } from "./input-text.ts";

/** Far above a record of the most dimensions with the largest document and metadata. */
export const lineBytesMax = 8 * 1024 * 1024;
const lineFeed = 0x0a;

export interface RecordLine {
  /** From 1. */
  readonly number: number;
  /** Null when the line cannot be read; then `fault` says why. */
  readonly text: string | null;
  readonly fault: string | null;
  /** Bytes of the file up to the end of this line. */
  readonly endByte: number;
}

/** Size of the file; `invalid` when it cannot be read, or is no text. */
export async function recordFileBytes(path: string): Promise<number> {
  const failed = unreadable("--records", path);
  const file = await open(path).catch(failed);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw invalid(`--records: ${path} is not a file`);
    const head = Buffer.alloc(signatureBytes);
    const { bytesRead } = await file.read(head, 0, signatureBytes, 0).catch(failed);
    const problem = foreignFormat(head.subarray(0, bytesRead));
    if (problem !== null) throw invalid(`--records: ${path} ${problem}`);
    return stat.size;
  } finally {
    await file.close();
  }
}

export async function* recordLines(path: string): AsyncGenerator<RecordLine> {
  let number = 0;
  let endByte = 0;
  let parts: Buffer[] = [];
  let length = 0;
  const take = (): RecordLine => {
    number += 1;
    const line = length > lineBytesMax ? null : Buffer.concat(parts);
    parts = [];
    const tooLong = `the line has more than ${lineBytesMax} bytes`;
    length = 0;
    if (line === null) return { number, text: null, fault: tooLong, endByte };
    const text = decodeUtf8(number === 1 ? line.subarray(markBytes(line)) : line);
    return { number, text, fault: text === null ? "the line is not UTF-8" : null, endByte };
  };
  const add = (part: Buffer): void => {
    length += part.length;
    // The rest of a line that is too long is skipped.
    if (length <= lineBytesMax) parts.push(part);
  };
  for await (const chunk of chunks(path)) {
    let start = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      add(chunk.subarray(start, end));
      endByte += end - start + 1;
      yield take();
      start = end + 1;
    }
    add(chunk.subarray(start));
    endByte += chunk.length - start;
  }
  if (length > 0) yield take();
}

async function* chunks(path: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>;
  } catch (error) {
    unreadable("--records", path)(error);
  }
}
