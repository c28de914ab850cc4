/**
 * Decodes Content-Encoding aws-chunked, as the SDKs send bodies with a trailing checksum:
 * `<hex size>[;chunk-signature=…]\r\n<bytes>\r\n … 0\r\n<name>:<value>\r\n … \r\n`. Signatures are not checked.
 */
import { S3Error } from "./error.ts";

/** Longest chunk header or trailer line that is accepted. */
const lineBytesMax = 8192;

/** Yields the body's bytes as they come; the trailers are in `trailers` once it has ended. */
export async function* decodeAwsChunked(
  source: AsyncIterable<Buffer>,
  trailers: Map<string, string>,
): AsyncGenerator<Buffer> {
  const input = new ByteReader(source);
  while (true) {
    const header = await input.line();
    const size = Number.parseInt(header, 16);
    if (!/^[0-9a-fA-F]+(;|$)/.test(header) || !Number.isSafeInteger(size)) {
      throw new S3Error("IncompleteBody", "An aws-chunked header could not be read.");
    }
    if (size === 0) break;
    yield* input.take(size);
    if ((await input.line()) !== "")
      throw new S3Error("IncompleteBody", "A chunk is longer than its header says.");
  }
  for (let line = await input.lastLine(); line !== ""; line = await input.lastLine()) {
    const colon = line.indexOf(":");
    if (colon > 0) trailers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
}

/** Lines and byte counts from a stream of buffers. */
class ByteReader {
  private readonly iterator: AsyncIterator<Buffer>;
  private pending: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  private async fill(): Promise<boolean> {
    const next = await this.iterator.next();
    if (next.done) return false;
    this.pending = this.pending.length === 0 ? next.value : Buffer.concat([this.pending, next.value]);
    return true;
  }

  async line(): Promise<string> {
    const line = await this.lineOrEnd();
    if (line === null) throw new S3Error("IncompleteBody", "The body ended inside an aws-chunked frame.");
    return line;
  }

  /** Like line, but the end of the body counts as an empty line: some clients omit the last one. */
  async lastLine(): Promise<string> {
    return (await this.lineOrEnd()) ?? "";
  }

  private async lineOrEnd(): Promise<string | null> {
    let end = this.pending.indexOf("\r\n");
    while (end < 0) {
      if (this.pending.length > lineBytesMax)
        throw new S3Error("IncompleteBody", "An aws-chunked line is too long.");
      if (!(await this.fill())) return null;
      end = this.pending.indexOf("\r\n");
    }
    const line = this.pending.toString("latin1", 0, end);
    this.pending = this.pending.subarray(end + 2);
    return line;
  }

  async *take(size: number): AsyncGenerator<Buffer> {
    let left = size;
    while (left > 0) {
      if (this.pending.length === 0 && !(await this.fill())) {
        throw new S3Error("IncompleteBody", "The body ended inside an aws-chunked frame.");
      }
      const chunk = this.pending.subarray(0, left);
      this.pending = this.pending.subarray(chunk.length);
      left -= chunk.length;
      yield chunk;
    }
  }
}
