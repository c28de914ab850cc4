/**
 * Sealed JSON from hands that may write to the bucket: bytes without their seal are not parsed, and what was sealed by them is
 * parsed within bounds. A manifest has up to 32 MiB: of brackets, these are gigabytes in memory.
 */
import { hash } from "node:crypto";
import { decodeManifest, manifestBytesMax } from "../../lib/core/format/manifest.ts";
import { decodeSealed, encodeSealed } from "../../lib/core/format/sealed-json.ts";
import type { SiltstoneError } from "../../lib/core/model/errors.ts";

const refusalMsMax = 1_500;

/** As an insider seals it, whatever it is. */
function sealed(content: string): Buffer {
  const end = (seal: string) => `${content}, "seal": "${seal}"\n}\n`;
  return Buffer.from(end(hash("sha256", end("0".repeat(64)))));
}

function refusal(bytes: Buffer, decode: (bytes: Buffer) => unknown): { message: string; ms: number } {
  const parse = jest.spyOn(JSON, "parse");
  const started = process.cpuUsage();
  try {
    decode(bytes);
  } catch (error) {
    const { user, system } = process.cpuUsage(started);
    expect((error as SiltstoneError).kind).toBe("corrupt");
    expect(parse).not.toHaveBeenCalled();
    return { message: (error as Error).message, ms: (user + system) / 1_000 };
  } finally {
    parse.mockRestore();
  }
  throw new Error("it was taken");
}

const asManifest = (bytes: Buffer) => decodeManifest(bytes, "key", { collection: "docs", shard: 0 });
const size = manifestBytesMax - 100;
const contents: [string, string, RegExp][] = [
  ["brackets", "[".repeat(size), /nested deeper than 32 levels/],
  ["objects in objects", '{"a":'.repeat(size / 5), /nested deeper than 32 levels/],
  ["brackets behind a text", `{"a\\"[":"${"[".repeat(99)}","b":${"[".repeat(99)}`, /nested deeper than 32/],
  ["empty lists", `{"a":[${"[],".repeat(size / 3 - 10)}[]]`, /more than 131072 objects and lists/],
  ["empty objects", `{"a":[${"{},".repeat(size / 3 - 10)}{}]`, /more than 131072 objects and lists/],
  [
    "lists in pairs",
    `{"segments":[${'[[0]],"]",'.repeat(size / 10 - 10)}0]`,
    /more than 131072 objects and lists/,
  ],
];

test.each(contents)("%s: refused before they are parsed, sealed or not", (_, content, reason) => {
  for (const [bytes, message] of [
    [Buffer.from(content), /its seal does not fit its content/],
    [sealed(content), reason],
  ] as const) {
    const refused = refusal(bytes, asManifest);
    expect(refused.message).toMatch(message);
    expect(refused.ms).toBeLessThan(refusalMsMax);
  }
});

test("text that is no UTF-8 is refused although its seal fits its bytes", () => {
  const zeros = (seal: string) =>
    Buffer.concat([
      Buffer.from('{ "format": 1, "a": "'),
      Buffer.from([0xff, 0xc0]),
      Buffer.from(`", "seal": "${seal}"\n}\n`),
    ]);
  const bytes = zeros(hash("sha256", zeros("0".repeat(64))));
  expect(refusal(bytes, (text) => decodeSealed(text, "key", 1)).message).toMatch(/its seal/);
});

test("what looks like brackets in a text is text, whatever its escapes", () => {
  for (const text of ["[".repeat(1_000), '\\"[{', "\\", '"', "]}".repeat(200_000), "é[\u2028\ud83d\ude00{"]) {
    const value = { format: 1, text, [`a${text}b`]: [text, { text }] };
    expect(decodeSealed(encodeSealed(value), "key", 1)).toEqual(value);
  }
});
