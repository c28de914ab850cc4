/** A text that a command takes whole, from a file or from standard input: UTF-8, and within what the command bears. */
import { createReadStream } from "node:fs";
import { invalid, SiltstoneError } from "../../lib/core/model/errors.ts";
import { strictText, unreadable } from "../../lib/import/input-text.ts";
import type { Session } from "./session.ts";

export interface TextSource {
  /** @default standard input */
  readonly path: string | undefined;
  /** The option that names the file, for messages. */
  readonly option: string;
  readonly bytesMax: number;
  /** What to do with a longer one. */
  readonly more: string;
}

/** Throws `invalid` for what is no such text. */
export async function readText(session: Session, source: TextSource): Promise<string> {
  const { path, option } = source;
  const bytes = path === undefined ? await readStdin(session, source) : await readFile(path, source);
  const named = path === undefined ? "standard input" : `${option}: ${path}`;
  return strictText(bytes, named);
}

function readStdin({ stdin }: Session, source: TextSource): Promise<Buffer> {
  if (stdin.isTTY === true) throw invalid(`pipe the input into the command, or give ${source.option} PATH`);
  return readBounded(stdin, source);
}

const readFile = (path: string, source: TextSource): Promise<Buffer> =>
  readBounded(createReadStream(path) as AsyncIterable<Buffer>, source).catch((error: unknown) => {
    if (error instanceof SiltstoneError) throw error;
    return unreadable(source.option, path)(error);
  });

/** A device may have no end, and says no size. */
async function readBounded(
  stream: AsyncIterable<Buffer | string>,
  { bytesMax, more }: TextSource,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > bytesMax) throw invalid(more);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
