/** Directories of Chroma that real servers wrote, packed, with what the servers answered for all that is in them. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import type { ExpectedRow } from "./source-contract.ts";

type Answered = Omit<ExpectedRow, "metadata"> & { metadata: ExpectedRow["metadata"] | null };

/** Unpacks one of them into `path`. */
export function chromaDirectory(name: string, path: string): Answered[] {
  const packed = join(import.meta.dirname, `chroma/${name}.json.br`);
  const { files, expected } = JSON.parse(brotliDecompressSync(readFileSync(packed)).toString()) as {
    files: Record<string, string>;
    expected: Answered[];
  };
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), Buffer.from(content, "base64"));
  }
  return expected;
}
