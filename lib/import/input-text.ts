/**
 * Text that users give in files or on standard input: UTF-8, and nothing else. Another encoding that was decoded all the
 * same would be stored with U+FFFD in the place of letters, ids included. A byte order mark at the start is taken off.
 */
import { invalid } from "../core/model/errors.ts";

const signatures: readonly { readonly bytes: readonly number[]; readonly advice: string }[] = [
  { bytes: [0x1f, 0x8b], advice: "is compressed with gzip: run `gunzip` on it first" },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], advice: "is compressed with zstd: run `unzstd` on it first" },
  { bytes: [0x42, 0x5a, 0x68], advice: "is compressed with bzip2: run `bunzip2` on it first" },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], advice: "is compressed with xz: run `unxz` on it first" },
  { bytes: [0x50, 0x4b, 0x03, 0x04], advice: "is a ZIP archive: unpack it first" },
  { bytes: [0xff, 0xfe], advice: "is UTF-16: convert it to UTF-8 first, with `iconv -f utf-16 -t utf-8`" },
  { bytes: [0xfe, 0xff], advice: "is UTF-16: convert it to UTF-8 first, with `iconv -f utf-16 -t utf-8`" },
  { bytes: [0x50, 0x41, 0x52, 0x31], advice: "is a Parquet file" },
  { bytes: [0x41, 0x52, 0x52, 0x4f, 0x57, 0x31], advice: "is an Arrow file" },
];
const byteOrderMark = [0xef, 0xbb, 0xbf];
/** Bytes of the longest signature. */
export const signatureBytes = 6;

/** What opening or reading a file fails with, as the fault of who named it: a directory, /proc/self/mem. */
export const unreadable =
  (option: string, path: string) =>
  (error: unknown): never => {
    throw invalid(`${option}: ${path.slice(0, pathCharsMax)} cannot be read: ${(error as Error).message}`);
  };
const pathCharsMax = 500;

/** What the first bytes of an input say that it is, where that is a well-known format of another kind; null otherwise. */
export const foreignFormat = (head: Uint8Array): string | null =>
  signatures.find(({ bytes }) => beginsWith(head, bytes))?.advice ?? null;

/** Bytes of a byte order mark at the start. */
export const markBytes = (head: Uint8Array): number =>
  beginsWith(head, byteOrderMark) ? byteOrderMark.length : 0;

/** The text, or null when the bytes are no UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** The line, from 1, of the first byte that is no UTF-8. */
export function faultyLine(bytes: Uint8Array): number {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const feed = bytes.indexOf(0x0a, start);
    const limit = feed < 0 ? bytes.length : feed + 1;
    if (decodeUtf8(bytes.subarray(start, limit)) === null) return line;
    start = limit;
  }
  return line;
}

const beginsWith = (head: Uint8Array, bytes: readonly number[]): boolean =>
  head.length >= bytes.length && bytes.every((byte, i) => head[i] === byte);

/** The text of a file that is read whole. Throws `invalid` for what is compressed, is no text, or is not UTF-8, naming the line. */
export function strictText(bytes: Uint8Array, named: string): string {
  const problem = foreignFormat(bytes);
  if (problem !== null) throw invalid(`${named} ${problem}`);
  const text = decodeUtf8(bytes.subarray(markBytes(bytes)));
  if (text !== null) return text;
  throw invalid(
    `${named} is not UTF-8 in line ${faultyLine(bytes)}; nothing was written. Convert it with \`iconv\``,
  );
}
