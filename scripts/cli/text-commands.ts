/** silt chunk | fake-provider: texts before they are embedded, and a provider to try everything with. Need no deployment, but for `chunk --collection`. */
import type { Command } from "commander";
import { type Fault, faultKinds, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { dimsMax } from "../../lib/core/model/collection.ts";
import { inputBytesMax } from "../../lib/core/model/embedding-profile.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { chunksOf } from "../../lib/embedding/chunks.ts";
import { integer, openCollection } from "./arguments.ts";
import type { Outcome } from "./outcome.ts";
import { readText } from "./read-text.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { excerpt, plural, table } from "./text.ts";

const chunkBytesDefault = 1_500;
const chunkBytesMax = 262_144;
const textBytesMax = 64 * 2 ** 20;
const excerptChars = 60;

export function addTextCommands(program: Command, run: Runner): void {
  program
    .command("chunk")
    .description("show how a text would be cut into chunks; writes nothing")
    .option("--text <file>", "the text, UTF-8, instead of stdin")
    .option("--collection <name>", "within what an input of its embedder may have")
    .option("--bytes <n>", `within so many bytes (default: ${chunkBytesDefault})`, integer(4, chunkBytesMax))
    .option(
      "--overlap <n>",
      "bytes of the chunk before that each begins with",
      integer(0, chunkBytesMax / 2),
      0,
    )
    .action(run(chunk));
  program
    .command("fake-provider")
    .description(
      "run a provider of embeddings for tests on 127.0.0.1, with the faults that it is asked for; ends with Ctrl-C",
    )
    .option("--port <n>", "0: any that is free", integer(0, 65_535), 0)
    .option("--dims <n>", "dimensions of a vector", integer(1, dimsMax), 384)
    .option("--requests-per-minute <n>", "answer 429 beyond that", integer(1, 1_000_000))
    .option("--key <key>", "answer 401 to requests without it")
    .option("--fault <kind:times>", `make a fault: ${faultKinds.join(", ")} (may be repeated)`, addFault)
    .action(run(fakeProvider));
}

interface ChunkOptions {
  readonly text?: string;
  readonly collection?: string;
  readonly bytes?: number;
  readonly overlap: number;
}

async function chunk(
  session: Session,
  { text: file, collection, bytes, overlap }: ChunkOptions,
): Promise<Outcome> {
  if (collection !== undefined && bytes !== undefined)
    throw invalid("give --collection or --bytes, not both");
  const text = await readText(session, {
    path: file,
    option: "--text",
    bytesMax: textBytesMax,
    more: `one text has at most ${textBytesMax} bytes`,
  });
  const bytesMax =
    bytes ?? (collection === undefined ? chunkBytesDefault : await inputBytesOf(session, collection));
  const chunks = chunksOf(text, { bytesMax, overlapBytes: overlap }).map(({ text: piece, ...span }) => ({
    ...span,
    bytes: Buffer.byteLength(piece),
    text: piece,
  }));
  const rows = chunks.map((one) => [
    one.index,
    `${one.start}–${one.limit}`,
    one.bytes,
    excerpt(one.text, excerptChars),
  ]);
  return {
    value: { bytesMax, overlap, chunks },
    text: `${plural(chunks.length, "chunk")} of at most ${bytesMax} bytes\n\n${table(["CHUNK", "SPAN", "BYTES", "TEXT"], rows)}`,
  };
}

async function inputBytesOf(session: Session, name: string): Promise<number> {
  const { collection } = await openCollection(session, name);
  const { embedder } = collection;
  if (embedder === null || embedder === "lexical")
    throw invalid(`--collection: ${name} has no embedding profile whose inputs are bounded; give --bytes`);
  return inputBytesMax(embedder) - Buffer.byteLength(embedder.documentPrefix);
}

function addFault(text: string, before: readonly Fault[] = []): Fault[] {
  const [, name, times] = /^([A-Za-z]+)(?::(\d{1,6}))?$/.exec(text) ?? [];
  const kind = faultKinds.find((one) => one === name);
  if (kind === undefined)
    throw invalid(`--fault: must be KIND or KIND:TIMES, with ${faultKinds.join(", ")}; got ${text}`);
  return [...before, { kind, ...(times === undefined ? {} : { times: Number(times) }) }];
}

interface FakeOptions {
  readonly port: number;
  readonly dims: number;
  readonly requestsPerMinute?: number;
  readonly key?: string;
  readonly fault?: readonly Fault[];
}

async function fakeProvider(session: Session, { fault = [], ...options }: FakeOptions): Promise<Outcome> {
  const provider = await startFakeProvider(options);
  for (const one of fault) provider.fail(one);
  const { url } = provider;
  if (session.json) session.writeLine(JSON.stringify({ url }));
  else session.writeLine(`listening at ${url} (OpenAI: ${url}/v1; Ollama, TEI and Bedrock: ${url})`);
  const { interrupted } = session;
  if (!interrupted.aborted)
    await new Promise<void>((ended) => interrupted.addEventListener("abort", () => ended(), { once: true }));
  await provider.close();
  const { requests, embedded } = provider;
  const value = { url, requests, embedded: embedded.length };
  return {
    value: session.json ? null : value,
    text: `${plural(requests, "request")}, ${plural(embedded.length, "text")} embedded`,
  };
}
