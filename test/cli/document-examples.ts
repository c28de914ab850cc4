/** The examples of docs/cli.md: commands with what they print, and what of that is the same in every store. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Example {
  readonly line: string;
  /** Words of the command behind `silt`, and what is piped into it. */
  readonly words: readonly string[];
  readonly input: string;
  /** Lines that it prints. */
  readonly output: readonly string[];
}

const text = readFileSync(join(import.meta.dirname, "../../docs/cli.md"), "utf8");

/** In the document's order. */
export function documentedExamples(): Example[] {
  const blocks = [...text.matchAll(/^```(?:sh)?\n([\s\S]*?)^```/gm)].map(([, block]) => block!);
  return blocks.flatMap((block) =>
    block
      .split(/^(?=\$ |npx silt )/m)
      .filter((part) => /^(\$ |npx silt )/.test(part))
      .map((part) => {
        const [line = "", ...output] = part.trim().split("\n");
        return { ...commandOf(line), output: output.filter((one) => one.trim() !== "") };
      }),
  );
}

function commandOf(line: string): Omit<Example, "output"> {
  const [, input = "", command = ""] = /^(?:\$ )?(?:echo '([^']*)' \| )?(?:npx )?silt (.*)$/.exec(line) ?? [];
  if (command === "") throw new Error(`docs/cli.md: ${line} is no command of silt`);
  const words = [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c!);
  return { line, words, input };
}

/** Numbers, sizes, times, names that were made, and how wide a table is, are of the store; the rest is of the command. */
export const shapeOf = (line: string): string =>
  line
    .replaceAll(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z/g, "TIME")
    .replaceAll(/\b[0-9A-HJKMNP-TV-Z]{26}\b/g, "ULID")
    .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "UUID")
    .replaceAll(/\bw\d\.[\w-]+/g, "TOKEN")
    .replaceAll(/-?\d[\d,.]*/g, "#")
    .replaceAll(/# → #/g, "#")
    .replaceAll(/# ([kKMG]?B)\b/g, "SIZE")
    .replaceAll(/SIZE → SIZE/g, "SIZE")
    .replaceAll(/# (ms|s|min|h|d)\b/g, "DURATION")
    .replaceAll(/\b(scheduled|upkeep|manual)\b/g, "SOURCE")
    .replaceAll(/\b(kept|noncurrent)\b/g, "KEPT")
    .replaceAll(/([a-z])s\b/g, "$1")
    .replaceAll(/\s+/g, " ")
    .trim();
